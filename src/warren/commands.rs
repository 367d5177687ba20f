//! What each command does: one file for each noun.

use crate::{
    cli::{Cli, Command},
    demo, install,
    output::Format,
    runtime, serve,
};

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod contexts;
pub(crate) mod customers;
pub(crate) mod doctor;
pub(crate) mod groups;
pub(crate) mod man;
pub(crate) mod probe;
pub(crate) mod recover;
pub(crate) mod resources;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        // Servers say themselves what they run on.
        Command::Gateway(args) => serve::gateway(&args, cli.output),
        Command::Agent(agent) => match agent.service {
            Some(verb) => {
                install::hide_secrets()?;
                runtime::wait(install::run(verb, cli.output))
            }
            None => serve::agent(&agent.run),
        },
        // A name service that does not answer keeps a thread, which nobody waits for.
        Command::Doctor(args) => runtime::wait_and_leave(doctor::run(*args, cli.output)),
        command => runtime::wait(run_once(command, cli.output)),
    }
}

async fn run_once(command: Command, format: Format) -> anyhow::Result<()> {
    match command {
        Command::Gateway(_) | Command::Agent(_) | Command::Doctor(_) => {
            unreachable!("they say themselves what they run on")
        }
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Customers(noun) => customers::run(noun, format).await,
        Command::Groups(noun) => groups::run(noun, format).await,
        Command::Agents(noun) => agents::run(noun, format).await,
        Command::Resources(noun) => resources::run(noun, format).await,
        Command::Tokens(noun) => tokens::run(noun, format).await,
        Command::Config(noun) => config::run(noun, format).await,
        Command::Sessions(noun) => sessions::run(noun, format).await,
        Command::Users(noun) => users::run(noun, format).await,
        Command::Audit(noun) => audit::run(noun, format).await,
        Command::Context(noun) => contexts::run(&noun, format),
        Command::Recover(args) => recover::run(args, format).await,
        Command::Ca(args) => ca::run(&args),
        Command::Probe(args) => probe::run(args).await,
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
