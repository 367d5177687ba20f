use crate::{Place, Process, Site};

/// A gateway beside the first one of a site, on the same store. Callers of resources come to another address of loopback.
#[derive(Debug)]
pub struct OtherGateway {
    pub process: Process,
    /// Where agents and the CLI reach it.
    pub url: String,
    name: String,
    args: Vec<String>,
}

impl OtherGateway {
    /// `shared` are the flags that all gateways of the store have; callers come to `127.0.0.<number>`.
    pub fn start(site: &Site, number: u8, shared: &[&str]) -> Self {
        let name = format!("gateway-{number}");
        let dir = site.path(&name);
        let (data, host) = (dir.join("data").display().to_string(), format!("127.0.0.{number}"));
        let own = ["gateway", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--ingress-host", &host];
        let at = ["--data-dir", &data];
        let own = own.iter().chain(shared).chain(&at);
        let mut args: Vec<String> = own.map(ToString::to_string).collect();
        let mut process = Process::start(&name, &dir, &args, &Place::default());
        let ready = process.ready();
        let field = |name: &str| ready[name].as_str().expect("a gateway tells where it is").to_owned();
        // A restart must come back where the agents look for it.
        args[2] = field("listen");
        let url = field("url");
        Self { process, url, name, args }
    }

    pub fn restart(&mut self, site: &Site) {
        self.process = Process::start(&self.name, &site.path(&self.name), &self.args, &Place::default());
        self.process.ready();
    }
}
