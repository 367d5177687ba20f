//! The tunnels to the other gateways: one to each, made again for as long as the store says that it serves.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};
use warren_core::{backoff::Backoff, id::GatewayId};
use warren_identity::authority::gateway_server_name;
use warren_tunnel::{
    Budget, Bundles, CloseReason, Closed, Config, Driver, Handle, Hello, Role,
    dial::{Direct, dial_by_name},
    echo::check_echo,
    tls::TlsStream,
};

use super::Neighbours;
use crate::{
    admin::error::causes,
    ends,
    store::{Store, StoreError},
};

/// How often the store is asked who serves, when it does not ring.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A new tunnel has to carry an echo within this time.
const ECHO_WITHIN: Duration = Duration::from_secs(5);

/// Keeps the tunnels. `run` it.
#[derive(Debug)]
pub(crate) struct Links {
    store: Arc<dyn Store>,
    dialer: Dialer,
    /// By where they are dialled: one that has moved may be there twice for a while.
    known: BTreeMap<Place, Known>,
    tasks: TaskTracker,
}

#[derive(Debug, Clone)]
struct Dialer {
    neighbours: Neighbours,
    tls: Arc<ClientConfig>,
    bundles: Bundles,
    hello: Hello,
}

type Place = (GatewayId, String);

#[derive(Debug)]
struct Known {
    /// Whether it serves there, as the store tells. If not, there are no further dials; a tunnel that is up lives on.
    serves: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Links {
    /// `tls` shows this gateway's certificate; `budget` bounds the memory of sessions.
    pub(crate) fn new(
        neighbours: Neighbours,
        store: Arc<dyn Store>,
        tls: Arc<ClientConfig>,
        (own, machine, budget): (GatewayId, Config, Budget),
    ) -> Self {
        let bundles = neighbours.bundles(|| Bundles::new(Role::Gateway, machine, budget));
        let hello = Hello { place: own.number(), ..Hello::new(rand::random(), 0, 0) };
        let dialer = Dialer { neighbours, tls, bundles, hello };
        Self { store, dialer, known: BTreeMap::new(), tasks: TaskTracker::new() }
    }

    /// Dials whoever serves until `stop`; tunnels that are up by then are left to [`Neighbours::drain`].
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut bell = self.store.bell();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
                // Without its sender the store is being closed, and we with it.
                Ok(()) = bell.changed() => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look() => looked,
            };
            if let Err(error) = looked {
                // Those that are known stay so; that the store is away is told elsewhere.
                debug!(error = &error as &dyn Error, "not known who else serves");
            }
        }
        for known in self.known.values() {
            known.serves.send_replace(false);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let own = self.dialer.hello.place;
        let all = self.store.gateways().await?;
        self.dialer.neighbours.keep_rooms(&all.iter().map(|gateway| gateway.id).collect());
        let serving: BTreeSet<Place> = all
            .into_iter()
            .filter(|gateway| gateway.is_alive() && gateway.id.number() != own)
            .map(|gateway| (gateway.id, gateway.address))
            .collect();
        for (place, known) in &self.known {
            let serves = serving.contains(place);
            known.serves.send_if_modified(|before| std::mem::replace(before, serves) != serves);
        }
        self.known.retain(|_, known| !known.task.is_finished());
        for place in serving {
            let btree_map::Entry::Vacant(entry) = self.known.entry(place) else { continue };
            let (serves, told) = watch::channel(true);
            let task = self.tasks.spawn(self.dialer.clone().keep(entry.key().clone(), told));
            entry.insert(Known { serves, task });
        }
        Ok(())
    }
}

impl Dialer {
    async fn keep(self, (gateway, address): Place, mut serves: watch::Receiver<bool>) {
        let mut backoff =
            Backoff::new(Duration::from_millis(100), Duration::from_secs(5), Duration::from_secs(15));
        let mut told = false;
        while *serves.borrow_and_update() {
            let begun = Instant::now();
            match self.serve(gateway, &address).await {
                Ok(Closed { reason, detail, .. }) => {
                    told = false;
                    backoff.connected_for(begun.elapsed());
                    info!(%gateway, %reason, detail, "tunnel to another gateway down");
                }
                Err(error) if std::mem::replace(&mut told, true) => {
                    debug!(%gateway, address, error = &*error, "no tunnel to another gateway");
                }
                Err(error) => {
                    warn!(%gateway, address, error = causes(&*error), "no tunnel to another gateway, callers cannot be passed on to it; it is dialled again");
                }
            }
            tokio::select! {
                () = sleep(backoff.next_wait(rand::random())) => {}
                // An error means that nobody wants it any more.
                changed = serves.changed() => if changed.is_err() { return },
            }
        }
    }

    /// From dial to end.
    async fn serve(&self, gateway: GatewayId, address: &str) -> Result<Closed, Box<dyn Error + Send + Sync>> {
        let (handle, driver) = self.dial(gateway, address).await?;
        let driving = tokio::spawn(driver);
        if let Err(error) = check_echo(&handle, ECHO_WITHIN).await {
            handle.close(CloseReason::NotAlive, "does not carry data");
            drop(driving.await);
            return Err(error.into());
        }
        info!(%gateway, address, "tunnel to another gateway up");
        let number = self.neighbours.up(gateway, handle.clone());
        let closed = handle.closed().await;
        self.neighbours.down(gateway, number);
        // The driver may still have its last frame to bring out.
        drop(driving.await);
        Ok(closed)
    }

    async fn dial(
        &self,
        gateway: GatewayId,
        address: &str,
    ) -> Result<(Handle, Driver<TlsStream>), Box<dyn Error + Send + Sync>> {
        let name = gateway_server_name(gateway);
        let dialed = dial_by_name(address, name, self.tls.clone(), &Direct).await?;
        let greeted = self.bundles.greet(dialed.stream, dialed.read_buf, self.hello).await?;
        Ok(self.bundles.join(gateway.number(), greeted.look_for_end_by(TlsStream::has_ended)))
    }
}

impl Neighbours {
    /// Asks nothing more of the others, and lets what they carry end until `deadline`. Gives the number cut.
    pub(crate) async fn drain(&self, deadline: Duration) -> usize {
        match self.shared.bundles.get() {
            Some(bundles) => ends::drain(bundles, &self.tunnels(), deadline).await,
            None => 0,
        }
    }

    pub(crate) fn close(&self) {
        ends::close(&self.tunnels());
    }
}
