//! The command line: what can be typed, and its help. What is done with it stands in `commands`, `serve` and `demo`.

use clap::{Args, Parser, Subcommand};

use crate::{
    client::ApiArgs,
    commands::{
        agents, audit, ca, completion, config, contexts, customers, doctor, groups, man, probe, recover,
        resources, sessions, tokens, users,
    },
    demo::DemoArgs,
    install::ServiceVerb,
    output::Format,
    serve::{AgentArgs, GatewayArgs},
};

const EXAMPLES: &str = "\
See it work, nothing needed:
  warren demo

A gateway, and an agent behind the firewall:
  warren gateway --data-dir gw --listen 0.0.0.0:443
  export WARREN_API=https://gateway.example.com WARREN_TOKEN=@gw/admin.token WARREN_CA=gw/ca.pem
  warren groups create site-1
  warren tokens create --group site-1 > site-1.jwt
  warren agent --data-dir agent --gateway https://gateway.example.com --ca ca.pem --token @site-1.jwt

A database that becomes reachable:
  warren resources create db --group site-1 --target db.internal:5432
  warren groups status site-1

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused (permission, guard, quorum, token), 4 not reachable.";

/// Reach private applications through agents that dial out.
///
/// Agents run behind a firewall that lets nothing in, dial a gateway on 443, and form a group that shares one
/// configuration. The gateway gives each private target a plain host and port, and spreads sessions over the agents
/// that are well.
#[derive(Debug, Parser)]
#[command(name = "warren", version, after_long_help = EXAMPLES, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// How results are printed on stdout
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        env = "WARREN_OUTPUT",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show Warren at work on this machine: a gateway, three agents, a killed member
    Demo(DemoArgs),
    /// Run the gateway, the cloud side
    Gateway(Box<GatewayArgs>),
    /// Run an agent, the site's side, or make it a service of this machine
    Agent(Box<AgentCommand>),
    /// Tenants that groups belong to
    Customers(Noun<customers::Verb>),
    /// The agents of one site, sharing one configuration
    Groups(Noun<groups::Verb>),
    /// Members of groups: their state, their part in new sessions
    Agents(Noun<agents::Verb>),
    /// Named targets behind the firewall
    Resources(Noun<resources::Verb>),
    /// Registration tokens, with which agents enrol
    Tokens(Noun<tokens::Verb>),
    /// A group's configuration as a document, with history
    Config(Noun<config::Verb>),
    /// Callers' connections and how their members were chosen
    Sessions(Noun<sessions::Verb>),
    /// Who may use the admin API
    Users(Noun<users::Verb>),
    /// Who changed what
    Audit(Noun<audit::Verb>),
    /// Named gateways that commands talk to
    Context(Noun<contexts::Verb>),
    /// Walk the hops from this machine to the gateway and name the one that fails
    ///
    /// Runs on an agent's machine, beside the agent or before its first start, with the same settings. It changes nothing:
    /// it takes no lock, makes no tunnel and does not enrol.
    Doctor(Box<doctor::DoctorArgs>),
    /// Make one member the whole group again, when the majority is gone for good
    ///
    /// Runs on the survivor's machine while its agent is stopped, without a gateway. The members that are lost are out for
    /// good: should one come back, it is refused.
    Recover(recover::RecoverArgs),
    /// Print the root that vouches for a gateway, to give to agents and people
    Ca(ca::CaArgs),
    /// Ask a gateway or an agent whether it is ready, for health checks
    Probe(probe::ProbeArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Write a manual page for each command into a folder
    Man(man::ManArgs),
}

/// Run an agent, or one of the verbs that make it a service.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentCommand {
    #[command(subcommand)]
    pub(crate) service: Option<ServiceVerb>,
    #[command(flatten)]
    pub(crate) run: AgentArgs,
}

/// A noun of the admin API with its verbs, and how to reach the gateway.
#[derive(Debug, Args)]
pub(crate) struct Noun<V: Subcommand> {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(subcommand)]
    pub(crate) verb: V,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "demo --json --once",
            "gateway --config g.yaml",
            "gateway --data-dir d --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --store sqlite:x --public-url https://x --ready-file r",
            "gateway --store postgres://warren@db/warren --store-password-file p --internal-url https://10.0.0.1:8443",
            "gateway --data-dir d --export store.jsonl --output json",
            "gateway --store postgres://warren@db/warren --import -",
            "agent --config a.yaml",
            "agent --data-dir d --gateway https://a --gateway https://b --ca c --token @t --name n --peer-listen 127.0.0.1:0 --metrics 127.0.0.1:0 --ready-file r",
            "agent install",
            "agent install --gateway https://a --gateway https://b --ca c --token @t --name n --metrics 127.0.0.1:1 --no-start --force --wait 5s",
            "agent install --gateway https://a --token @t --instance acme --peer-listen 127.0.0.1:7401 --dry-run --for launchd",
            "agent uninstall --leave --purge -o json",
            "customers create acme",
            "groups status g --output json",
            "agents drain agt-0123456789 --force",
            "tokens create --group g --customer c --expires 1h --max-uses 3",
            "tokens create --group g --org-only",
            "tokens rotate --group g",
            "config set --group g -f - --expect-revision 4",
            "config diff --group g 3..5",
            "config rollback 3 --group g",
            "resources create db --group g --target h:5432 --policy p2c --listen 127.0.0.1:0 -o json",
            "sessions list --api https://x --token t",
            "--output json sessions show 7",
            "doctor --config a.yaml --timeout 10s -o json",
            "doctor --data-dir d --gateway https://a --ca c --token @t --metrics 127.0.0.1:9101",
            "recover --data-dir d --yes -o json",
            "recover --data-dir d --dry-run",
            "ca --data-dir d",
            "probe --metrics 127.0.0.1:9100 --live",
            "completion bash",
            "man /usr/share/man/man1",
        ] {
            let words = std::iter::once("warren").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_token_is_either_a_customers_or_org_only() {
        let line = "warren tokens create --group g --customer c --org-only";
        assert!(Cli::try_parse_from(line.split(' ')).is_err());
    }
}
