//! Sessions that move between tunnels.

mod apps;
mod cut;
mod directed;
mod driver;
mod judge;
mod life;
mod net;
mod pipe;
mod script;
mod sim;
mod world;
