use std::time::{Duration, SystemTime};

use rustls::{ServerConfig, crypto::aws_lc_rs, version::TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use warren_core::id::GatewayId;
use warren_tunnel::dial::{DialError, Direct, dial};
use warren_wire::v1;

use super::*;
use crate::{
    cloud::{self, Cloud, CloudError},
    testing::{Site, gateway::Gateway},
    uplink,
};

/// Opens TLS before `gateway` with certificates of its own `authority`. Gives its URL.
pub(crate) async fn inspector(authority: &Site, gateway: &Gateway, gateways: Arc<Trust>) -> GatewayUrl {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let names = ["127.0.0.1".to_owned()];
    let made = authority.authority.issue_gateway(GatewayId::from_random(9), &names, now, day).unwrap();
    let shown = SwappableKey::new(&made.0.pem, made.1.to_rustls()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let behind: GatewayUrl = gateway.url.parse().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (shown, gateways, behind) = (shown.clone(), gateways.clone(), behind.clone());
            tokio::spawn(async move {
                let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_protocol_versions(&[&TLS13])
                    .unwrap()
                    .with_no_client_auth()
                    .with_cert_resolver(shown);
                config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                let Ok(mut near) = TlsAcceptor::from(Arc::new(config)).accept(socket).await else { return };
                let protocol = near.get_ref().1.alpn_protocol().unwrap().to_vec();
                let protocol = String::from_utf8(protocol).unwrap();
                let tls = tls::agent_client(gateways, None, &[&protocol]).unwrap();
                let far = TcpStream::connect((behind.host(), behind.port())).await.unwrap();
                let name = ServerName::try_from(behind.host().to_owned()).unwrap();
                let mut far = TlsConnector::from(tls).connect(name, far).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    url.parse().unwrap()
}

#[tokio::test]
async fn an_inspecting_proxy_is_told_from_a_gateway_and_from_a_stranger() {
    let (site, proxy) = (Arc::new(Site::new()), Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let identity = site.identity(1, 1);
    let between = inspector(&proxy, &gateway, identity.gateways.clone()).await;
    let its_root = Trust::from_pem(&proxy.authority.bundle_pem()).unwrap();
    let others_root = Trust::from_pem(&Site::new().authority.bundle_pem()).unwrap();
    let dialled = async |extra, url: &str| {
        let shown = Some(identity.shown.clone());
        let tls = GatewayTls::new(identity.gateways.clone(), extra, shown, uplink::ALPN).unwrap();
        let (config, opened) = tls.begin();
        let result = dial(url, config, &Direct).await;
        (result.map(drop), opened.is_opened())
    };
    let behind = between.to_string();
    let (result, opened) = dialled(Some(its_root.clone()), &gateway.url).await;
    assert!(result.is_ok() && !opened, "{result:?}");
    for extra in [None, Some(others_root)] {
        let (result, opened) = dialled(extra, &behind).await;
        assert!(matches!(result, Err(DialError::Tls { .. })) && !opened, "{result:?}");
    }
    let (result, opened) = dialled(Some(its_root), &behind).await;
    assert!(matches!(result, Err(DialError::Rejected { status: 401, .. })) && opened, "{result:?}");
}

#[tokio::test]
async fn a_call_that_lost_its_certificate_on_the_way_tells_what_to_do() {
    let (site, proxy) = (Arc::new(Site::new()), Site::new());
    let gateway = Gateway::start(site.clone(), 1).await;
    let identity = site.identity(1, 1);
    let between = inspector(&proxy, &gateway, identity.gateways.clone()).await;
    let extra = Some(Trust::from_pem(&proxy.authority.bundle_pem()).unwrap());
    let shown = Some(identity.shown.clone());
    let tls = GatewayTls::new(identity.gateways.clone(), extra, shown, cloud::ALPN).unwrap();
    let cloud = Cloud::new(vec![between], Arc::new(Direct), tls);
    let asked = cloud.ask(|mut client| async move { client.renew(v1::RenewRequest::default()).await });
    let error = asked.await.unwrap_err();
    assert!(matches!(&error, CloudError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("have 127.0.0.1 exempted from inspection"), "{error}");
}
