//! An address for a resource that is about to be made.
//!
//! ```text
//! reserve ─▶ bound, nobody is accepted ─▶ kept in the store ─ commit
//!                    └─ dropped: freed              └─ released: forgotten
//! ```

use std::{collections::btree_map, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{Entry, IngressError, Key, Shared, bind};
use crate::store::{ListenAt, ListenerRecord, StoreError};

/// An address that is bound for a resource; freed when dropped.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    key: Key,
    address: SocketAddr,
    listener: Option<TcpListener>,
    /// The store has it.
    kept: bool,
    /// It listened before, and is left as it was when nothing comes of this.
    taken_up: bool,
}

impl Reservation {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the store keep the address: from here on the resource listens there even if we die before the commit. Should
    /// it never come to exist, the address is given up as that of a resource that is gone.
    pub async fn keep(&mut self) -> Result<(), IngressError> {
        if self.kept {
            return Ok(());
        }
        let (group, resource) = self.key.clone();
        let at = ListenAt::of(self.address, self.shared.host);
        let record = ListenerRecord { group, resource, at };
        let kept = self.shared.store.keep_listener(&record).await.map_err(|error| match error {
            // Of a resource that waits for it to be free.
            StoreError::Taken { .. } => IngressError::InUse { address: self.address },
            error => error.into(),
        })?;
        if kept != record {
            // Another gateway was faster.
            let address = kept.at.on(self.shared.host);
            return Err(IngressError::Listening { resource: kept.resource, address });
        }
        self.kept = true;
        Ok(())
    }

    /// Gives the address up, in the store too. One that was taken up stays: whether its resource exists is not said by a
    /// refusal, and it is closed as that of a resource that is gone if it does not.
    pub async fn release(self) {
        if !self.taken_up {
            self.shared.close(&self.key).await;
        }
    }

    /// Begins to accept callers; keeps the address in the store if that was not done.
    pub async fn commit(mut self) -> Result<SocketAddr, IngressError> {
        self.keep().await?;
        let stop = self.shared.lock().get_mut(&self.key).map(|entry| {
            entry.reserved = false;
            entry.stop.clone()
        });
        let Some(stop) = stop else {
            // Closed meanwhile.
            self.shared.forget(&self.key).await;
            return Err(IngressError::Stopping);
        };
        if let Some(listener) = self.listener.take() {
            self.shared.clone().accept(self.key.clone(), listener, stop);
        }
        Ok(self.address)
    }
}

impl Reservation {
    pub(super) fn bind(&mut self, wish: Option<SocketAddr>) -> Result<(), IngressError> {
        let any = |host| bind::bind_any(host, self.shared.ports, rand::random());
        let listener = match wish {
            Some(address) if address.port() == 0 => any(address.ip()),
            Some(address) => bind::bind_for_callers(address),
            None => any(self.shared.host),
        }?;
        let address = bind::local_address(&listener)?;
        if let Some(entry) = self.shared.lock().get_mut(&self.key) {
            entry.address = Some(address);
        }
        (self.address, self.listener) = (address, Some(listener));
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut entries = self.shared.lock();
        if let btree_map::Entry::Occupied(mut entry) = entries.entry(self.key.clone())
            && entry.get().reserved
        {
            if self.taken_up {
                entry.get_mut().reserved = false;
            } else {
                entry.remove();
            }
        }
    }
}

impl Shared {
    /// The address that the resource has already, if it is what is wished for and nobody makes the resource right now.
    pub(super) fn take_up(
        self: Arc<Self>,
        key: &Key,
        wish: Option<SocketAddr>,
    ) -> Result<Option<Reservation>, IngressError> {
        let fits = |address: &SocketAddr| match wish {
            Some(wish) => wish.ip() == address.ip() && [0, address.port()].contains(&wish.port()),
            None => address.ip() == self.host,
        };
        let held = {
            let mut entries = self.lock();
            let entry = entries.get_mut(key).filter(|entry| !entry.reserved && !self.stop.is_cancelled());
            let address = entry.as_ref().and_then(|entry| entry.address).filter(fits);
            let Some((entry, address)) = entry.zip(address) else { return Ok(None) };
            entry.reserved = true;
            Reservation {
                shared: self.clone(),
                key: key.clone(),
                address,
                listener: None,
                // It may have been given up meanwhile, through another gateway.
                kept: false,
                taken_up: true,
            }
        };
        // Nobody is told an address that somebody else has.
        self.bind_restored(key)?;
        Ok(Some(held))
    }

    /// Takes the resource's place, so that nobody else binds for it at the same time.
    pub(super) fn claim(self: Arc<Self>, key: Key) -> Result<Reservation, IngressError> {
        if self.stop.is_cancelled() {
            return Err(IngressError::Stopping);
        }
        let unspecified = SocketAddr::new(self.host, 0);
        let mut entries = self.lock();
        match entries.entry(key.clone()) {
            btree_map::Entry::Occupied(entry) => {
                let address = entry.get().address.unwrap_or(unspecified);
                return Err(IngressError::Listening { resource: key.1, address });
            }
            btree_map::Entry::Vacant(place) => {
                let stop = self.stop.child_token();
                let entry = Entry { address: None, stop, waits: None, reserved: true, seen_in_store: false };
                place.insert(entry);
            }
        }
        drop(entries);
        Ok(Reservation {
            shared: self,
            key,
            address: unspecified,
            listener: None,
            kept: false,
            taken_up: false,
        })
    }
}
