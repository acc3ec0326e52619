//! The shell around the core: it carries out effects and feeds back what comes of them.

use super::RunError;
use super::links::{self, Links};
use super::pools::PoolLog;
use super::veil::Veil;
use super::worker::{Clock, Jobs, worker};
use crate::backup;
use crate::core::{Alarm, Effect, Event, JobId, JobResult, Node, Record, Ticket};
use crate::seal::{SealError, Sealer};
use crate::store::{APPEND_RECORDS_MAX, NewRecord, SqliteStore, Store, StoreError};
use quoin_api::Frame;
use quoin_api::statements::Head;
use quoin_core::{KeyId, SecretBytes, ShareEpoch, cbor};
use quoin_link::Inbound;
use quoin_policy::BackupPolicy;
use quoin_protocol::KeyShare;
use rand_core::OsRng;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the core hears that time has passed.
const TICK: Duration = Duration::from_millis(50);
/// How long a stop waits for checks that are under way: some of the slowest jobs of a busy machine.
const CHECKS_LIMIT: Duration = Duration::from_secs(8);

/// Everything around the core.
pub(super) struct Shell {
    node: Node,
    sealer: Box<dyn Sealer>,
    store: SqliteStore,
    veil: Veil,
    aad: Vec<u8>,
    clock: Clock,
    links: Option<Links>,
    durable: mpsc::UnboundedReceiver<(Ticket, Option<Head>)>,
    durable_in: mpsc::UnboundedSender<(Ticket, Option<Head>)>,
    heavy: Jobs,
    light: Jobs,
    done: mpsc::UnboundedReceiver<(JobId, JobResult)>,
    backups: PathBuf,
    backed_up: mpsc::UnboundedReceiver<BackedUp>,
    backed_up_in: mpsc::UnboundedSender<BackedUp>,
    pool_log: PoolLog,
    failed: bool,
}

/// Which backup, and its file's hash or why there is none.
type BackedUp = ((KeyId, ShareEpoch, [u8; 32]), Result<[u8; 32], String>);

impl Shell {
    /// `backups` is the folder for backup files.
    pub(super) fn new(
        node: Node,
        sealer: Box<dyn Sealer>,
        (store, veil): (SqliteStore, Veil),
        aad: &[u8],
        backups: PathBuf,
    ) -> Self {
        let (durable_in, durable) = mpsc::unbounded_channel();
        let (done_in, done) = mpsc::unbounded_channel();
        let (backed_up_in, backed_up) = mpsc::unbounded_channel();
        Self {
            node,
            sealer,
            store,
            veil,
            aad: aad.to_vec(),
            clock: Clock::new(),
            links: None,
            durable,
            durable_in,
            heavy: worker(done_in.clone()),
            light: worker(done_in),
            done,
            backups,
            backed_up,
            backed_up_in,
            pool_log: PoolLog::default(),
            failed: false,
        }
    }

    /// The core.
    pub(super) const fn node(&self) -> &Node {
        &self.node
    }

    /// Waits until all that was written so far is durable.
    pub(super) async fn wait_durable(&mut self) -> Result<(), RunError> {
        match self.durable.recv().await {
            Some((ticket, Some(head))) => {
                self.feed(Event::Durable(ticket, head));
                Ok(())
            }
            _ => Err(RunError::StorageFailed),
        }
    }

    pub(super) async fn serve(
        mut self,
        links: Links,
        mut inbound: mpsc::Receiver<Inbound>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        self.links = Some(links);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        tokio::pin!(shutdown);
        while !self.failed {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some((ticket, head)) = self.durable.recv() => match head {
                    Some(head) => self.feed(Event::Durable(ticket, head)),
                    None => {
                        self.feed(Event::StorageFailed);
                        self.failed = true;
                    }
                },
                // What we owe ourselves comes before what others send, or a busy peer could keep
                // this node from beating.
                _ = tick.tick() => {
                    self.feed(Event::Tick);
                    if let Some(links) = &mut self.links {
                        links.tick(&self.node);
                    }
                    if self.pool_log.is_due() {
                        self.pool_log.tell(self.node.pool_stats());
                    }
                }
                Some((id, result)) = self.done.recv() => self.feed(Event::Computed(id, result)),
                Some((of, outcome)) = self.backed_up.recv() => {
                    self.feed(Event::BackupWritten(of, outcome));
                }
                Some(event) = inbound.recv() => self.on_link(event),
            }
        }
        self.finish_checks().await;
        if let Some(links) = self.links.take() {
            links.shutdown().await;
        }
        if self.failed {
            Err(RunError::StorageFailed)
        } else {
            Ok(())
        }
    }

    /// Lets the secret-dependent checks that are under way end. Nothing comes in any more, so no
    /// new ones follow for long.
    async fn finish_checks(&mut self) {
        let limit = tokio::time::sleep(CHECKS_LIMIT);
        tokio::pin!(limit);
        while !self.failed && self.node.has_open_tries() {
            tokio::select! {
                biased;
                () = &mut limit => return,
                Some((ticket, head)) = self.durable.recv() => match head {
                    Some(head) => self.feed(Event::Durable(ticket, head)),
                    None => self.failed = true,
                },
                Some((id, result)) = self.done.recv() => self.feed(Event::Computed(id, result)),
            }
        }
    }

    fn on_link(&mut self, inbound: Inbound) {
        let admitted = self.links.as_ref().is_some_and(|l| l.admits(&inbound));
        let Some(peer) = links::peer_of(&inbound.from).filter(|_| admitted) else {
            return;
        };
        match inbound.event {
            quoin_link::Event::Connected => self.feed(Event::Connected(peer)),
            quoin_link::Event::Disconnected => self.feed(Event::Disconnected(peer)),
            quoin_link::Event::Frame(bytes) => match Frame::from_bytes(&bytes) {
                Ok(frame) => {
                    let links = self.links.as_ref();
                    if links.is_some_and(|l| l.may_send(&inbound.from, &frame)) {
                        self.feed(Event::Frame(peer, frame));
                    }
                }
                Err(error) => {
                    if let Some(links) = &self.links {
                        links.malformed(&inbound.from, &error);
                    }
                }
            },
        }
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.node.handle(self.clock.now(), event, &mut effects);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        let mut last = None;
        for effect in effects {
            match effect {
                Effect::Persist(ticket, record, secrets) => match self.written(record, secrets) {
                    Ok(write) => {
                        writes.push(write);
                        last = Some(ticket);
                    }
                    Err(error) => {
                        tracing::error!(%error, "a share cannot be sealed");
                        let _ = self.durable_in.send((ticket, None));
                        return;
                    }
                },
                Effect::Erase(ticket, record, labels) => {
                    labels.iter().for_each(|label| self.veil.forget(label));
                    let write = NewRecord::new(self.node.time(), record.to_bytes());
                    writes.push(labels.into_iter().fold(write, NewRecord::erase));
                    last = Some(ticket);
                }
                Effect::Send(peer, frame) => {
                    if let Some(links) = &self.links {
                        links.send(&peer, &frame);
                    }
                }
                Effect::Compute(id, job) => {
                    // The workers live as long as the shell.
                    let jobs = if job.is_heavy() {
                        &self.heavy
                    } else {
                        &self.light
                    };
                    let _ = jobs.send((id, job));
                }
                Effect::Alarm(alarm) => report(&alarm),
                Effect::BackUp(share, policy) => self.back_up(share, policy),
                Effect::Peers => {
                    if let Some(links) = &mut self.links {
                        links.charter_changed(&self.node);
                    }
                }
            }
        }
        if let Some(ticket) = last {
            self.submit(ticket, writes);
        }
    }

    /// Seals a share to the officers on a thread of its own: a slow folder holds up nothing else.
    fn back_up(&self, share: Arc<KeyShare>, policy: BackupPolicy) {
        let (folder, report) = (self.backups.clone(), self.backed_up_in.clone());
        tokio::task::spawn_blocking(move || {
            let public = &share.public;
            let of = (public.key, public.epoch, public.shares_hash());
            let written = backup::seal(&share, &policy, &mut OsRng).and_then(|file| {
                file.write_durably(&folder)?;
                Ok(Sha256::digest(file.to_bytes()).into())
            });
            // Nobody hears of it once the node has stopped; the next start asks again.
            let _ = report.send((of, written.map_err(|e| e.to_string())));
        });
    }

    /// Writes what one event has brought, in as many appends as it takes: the store takes so many
    /// records at once, and an append that fails fails all that follow.
    fn submit(&self, ticket: Ticket, mut writes: Vec<NewRecord>) {
        while writes.len() > APPEND_RECORDS_MAX {
            let rest = writes.split_off(APPEND_RECORDS_MAX);
            let first = std::mem::replace(&mut writes, rest);
            if let Err(error) = self.store.submit(first, Box::new(|_| {})) {
                tracing::error!(%error, "journal refused a write");
                let _ = self.durable_in.send((ticket, None));
                return;
            }
        }
        let report = self.durable_in.clone();
        let done = Box::new(
            move |outcome: Result<Vec<crate::store::Head>, StoreError>| {
                if let Err(error) = &outcome {
                    tracing::error!(%error, "journal write failed");
                }
                let head = outcome.ok().and_then(|heads| heads.last().copied());
                let _ = report.send((
                    ticket,
                    head.map(|h| Head {
                        seq: h.seq,
                        hash: h.hash,
                    }),
                ));
            },
        );
        if let Err(error) = self.store.submit(writes, done) {
            tracing::error!(%error, "journal refused a write");
            let _ = self.durable_in.send((ticket, None));
        }
    }

    /// A record as the store takes it: with its secrets sealed, and what it uses up.
    fn written(
        &mut self,
        mut record: Record,
        secrets: Vec<(String, SecretBytes<32>)>,
    ) -> Result<NewRecord, SealError> {
        let used = match &record {
            Record::Decision(decision) => decision.presignature,
            Record::Consumed(consumed) => consumed.presignature,
            _ => None,
        };
        let at = self.node.time();
        let sealer = self.sealer.as_ref();
        let day_key = self.veil.cover(at, &mut record, sealer, &self.aad)?;
        let mut write = NewRecord::new(at, record.to_bytes());
        if let Some((label, sealed)) = day_key {
            write = write.put(label, sealed);
        }
        for (label, secret) in secrets {
            let sealed = self.sealer.seal(&label, &self.aad, secret.expose())?;
            write = write.put(label, sealed);
        }
        Ok(match used {
            Some(id) => write.consume(cbor::encode(&id)),
            None => write,
        })
    }
}

fn report(alarm: &Alarm) {
    match alarm {
        Alarm::Strike(node, fault) => {
            tracing::error!(
                node = node.get(),
                ?fault,
                "peer failed a secret-dependent check"
            );
        }
        other => tracing::error!(alarm = ?other, "alarm"),
    }
}
