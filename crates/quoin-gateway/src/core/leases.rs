//! Stocks of presignature ids that nodes have lent to this gateway.
//!
//! An id is taken out of its stock for exactly one attempt and never comes back, whatever becomes
//! of the attempt. That nodes refuse a second use is what makes this safe; that the gateway never
//! tries is what makes it fast.

use quoin_core::{BatchHash, KeyId, NodeIndex, PresignatureId, ShareEpoch, SignerSet, TimeMs};
use std::collections::{BTreeMap, VecDeque};

/// A stock is kept for a key, an epoch of its shares and a set of signers.
pub type StockId = (KeyId, ShareEpoch, SignerSet);

/// Over how long the flow of ids is counted.
pub const FLOW_WINDOW_S: u64 = 10;

/// All stocks.
#[derive(Debug, Default)]
pub struct Leases {
    stocks: BTreeMap<StockId, VecDeque<PresignatureId>>,
    /// When a lender was asked last. A request names no epoch: which one it lends is the lender's
    /// choice.
    asked: BTreeMap<(KeyId, SignerSet), TimeMs>,
    /// When a lender lent something last.
    fed: BTreeMap<(KeyId, SignerSet), TimeMs>,
    flows: BTreeMap<KeyId, Flow>,
}

/// How many ids of a key came and went, by second.
#[derive(Debug, Default)]
struct Flow(VecDeque<(u64, u64, u64)>);

impl Flow {
    fn count(&mut self, now: TimeMs, lent: u64, used: u64) {
        let second = now.0 / 1_000;
        match self.0.back_mut() {
            Some((last, came, went)) if *last >= second => {
                *came += lent;
                *went += used;
            }
            _ => self.0.push_back((second, lent, used)),
        }
        while self.0.len() as u64 > FLOW_WINDOW_S {
            self.0.pop_front();
        }
    }

    /// How many came and went in the window before `now`.
    fn recent(&self, now: TimeMs) -> (u64, u64) {
        let from = (now.0 / 1_000).saturating_sub(FLOW_WINDOW_S - 1);
        let recent = self.0.iter().filter(|(second, ..)| *second >= from);
        recent.fold((0, 0), |(a, b), (_, came, went)| (a + came, b + went))
    }
}

impl Leases {
    /// Takes the oldest id of a stock.
    pub fn take(&mut self, now: TimeMs, stock: &StockId) -> Option<PresignatureId> {
        let id = self.stocks.get_mut(stock)?.pop_front()?;
        self.flows.entry(stock.0).or_default().count(now, 0, 1);
        Some(id)
    }

    /// Whether ids of a set came within the last `ms`. Requests may use them up faster than they
    /// come; then the set is short of presignatures, and not out of order.
    #[must_use]
    pub fn is_fed(&self, now: TimeMs, stock: &StockId, ms: u64) -> bool {
        let fed = self.fed.get(&(stock.0, stock.2.clone()));
        fed.is_some_and(|at| now.since(*at) < ms)
    }

    /// How many ids a stock has.
    #[must_use]
    pub fn len(&self, stock: &StockId) -> usize {
        self.stocks.get(stock).map_or(0, VecDeque::len)
    }

    /// How many ids all stocks of a key have together.
    #[must_use]
    pub fn of_key(&self, key: KeyId) -> usize {
        let stocks = self.stocks.iter().filter(|((k, ..), _)| *k == key);
        stocks.map(|(_, ids)| ids.len()).sum()
    }

    /// How many ids of a key were lent and used within the last [`FLOW_WINDOW_S`] seconds.
    #[must_use]
    pub fn flow_of(&self, now: TimeMs, key: KeyId) -> (u64, u64) {
        self.flows.get(&key).map_or((0, 0), |f| f.recent(now))
    }

    /// Whether a lease should be asked for now; when so, it is noted that it was.
    pub fn should_ask(&mut self, now: TimeMs, stock: &StockId, low: usize, retry_ms: u64) -> bool {
        let lender = (stock.0, stock.2.clone());
        let due = self
            .asked
            .get(&lender)
            .is_none_or(|at| now.since(*at) >= retry_ms);
        let ask = self.len(stock) < low && due;
        if ask {
            self.asked.insert(lender, now);
        }
        ask
    }

    /// Adds lent ids, up to `max` in stock. A fruitful lease lets the next one follow at once.
    pub fn add(&mut self, now: TimeMs, stock: &StockId, ids: Vec<PresignatureId>, max: usize) {
        if !ids.is_empty() {
            let lender = (stock.0, stock.2.clone());
            self.asked.remove(&lender);
            self.fed.insert(lender, now);
        }
        let kept = self.stocks.entry(stock.clone()).or_default();
        let before = kept.len();
        for id in ids {
            if kept.len() < max && !kept.contains(&id) {
                kept.push_back(id);
            }
        }
        let added = (kept.len() - before) as u64;
        self.flows.entry(stock.0).or_default().count(now, added, 0);
    }

    /// Forgets the ids of one batch, which the signers no longer have.
    pub fn drop_batch(&mut self, stock: &StockId, batch: BatchHash) {
        if let Some(ids) = self.stocks.get_mut(stock) {
            ids.retain(|id| id.batch != batch);
        }
    }

    /// Forgets every id that needs `node`: pools do not survive its restart.
    pub fn drop_node(&mut self, node: NodeIndex) {
        self.stocks.retain(|(.., set), _| !set.contains(node));
        self.asked.retain(|(_, set), _| !set.contains(node));
        self.fed.retain(|(_, set), _| !set.contains(node));
    }

    /// Forgets every id that `node` has lent: it takes them back when the connection breaks, and may
    /// lend them to another gateway.
    pub fn drop_lender(&mut self, node: NodeIndex) {
        self.stocks.retain(|(.., set), _| set.lowest() != node);
        self.asked.retain(|(_, set), _| set.lowest() != node);
        self.fed.retain(|(_, set), _| set.lowest() != node);
    }

    /// Forgets every id of `key`, which is not in use.
    pub fn drop_key(&mut self, key: KeyId) {
        self.stocks.retain(|(k, ..), _| *k != key);
        self.fed.retain(|(k, _), _| *k != key);
    }

    /// Forgets every id of an epoch of a key, whose presignatures the signers no longer honour.
    pub fn drop_epoch(&mut self, key: KeyId, epoch: ShareEpoch) {
        self.stocks.retain(|(k, e, _), _| *k != key || *e != epoch);
    }

    /// Forgets every id of the epochs of a key before `oldest`.
    pub fn drop_before(&mut self, key: KeyId, oldest: ShareEpoch) {
        self.stocks.retain(|(k, e, _), _| *k != key || *e >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId([1; 16]);

    fn set(indices: &[u8]) -> SignerSet {
        let nodes = indices.iter().map(|i| NodeIndex::new(*i).unwrap());
        SignerSet::from_ascending(nodes.collect()).unwrap()
    }

    fn id(batch: u8, index: u16) -> PresignatureId {
        PresignatureId {
            batch: BatchHash([batch; 32]),
            index,
        }
    }

    fn stock(epoch: u32, indices: &[u8]) -> StockId {
        (KEY, ShareEpoch(epoch), set(indices))
    }

    #[test]
    fn an_id_is_lent_once() {
        let (stock, now) = (stock(0, &[1, 2]), TimeMs(0));
        let mut leases = Leases::default();
        leases.add(now, &stock, vec![id(1, 0), id(1, 0), id(1, 1)], 8);
        assert_eq!(leases.take(now, &stock), Some(id(1, 0)));
        assert_eq!(leases.take(now, &stock), Some(id(1, 1)));
        assert_eq!(leases.take(now, &stock), None);
    }

    #[test]
    fn a_restarted_node_takes_its_ids_with_it() {
        let mut leases = Leases::default();
        leases.add(TimeMs(0), &stock(0, &[1, 2]), vec![id(1, 0)], 8);
        leases.add(TimeMs(0), &stock(0, &[1, 3]), vec![id(2, 0)], 8);
        leases.drop_node(NodeIndex::new(2).unwrap());
        assert_eq!(leases.len(&stock(0, &[1, 2])), 0);
        assert_eq!(leases.len(&stock(0, &[1, 3])), 1);
    }

    #[test]
    fn an_empty_stock_is_asked_for_at_intervals() {
        let stock = stock(0, &[1, 2]);
        let mut leases = Leases::default();
        assert!(leases.should_ask(TimeMs(0), &stock, 4, 100));
        assert!(!leases.should_ask(TimeMs(99), &stock, 4, 100));
        assert!(leases.should_ask(TimeMs(100), &stock, 4, 100));
        let ids = (0..8).map(|i| id(1, i)).collect();
        leases.add(TimeMs(100), &stock, ids, 6);
        assert_eq!(leases.len(&stock), 6);
        assert!(!leases.should_ask(TimeMs(500), &stock, 4, 100));
        leases.drop_batch(&stock, BatchHash([1; 32]));
        assert_eq!(leases.of_key(KEY), 0);
    }

    #[test]
    fn a_set_is_fed_while_ids_come_and_until_a_node_of_it_is_gone() {
        let stock = stock(0, &[1, 2]);
        let mut leases = Leases::default();
        leases.add(TimeMs(0), &stock, Vec::new(), 8);
        assert!(!leases.is_fed(TimeMs(0), &stock, 100));
        leases.add(TimeMs(0), &stock, vec![id(1, 0)], 8);
        assert!(leases.is_fed(TimeMs(99), &stock, 100));
        assert!(!leases.is_fed(TimeMs(100), &stock, 100));
        leases.drop_node(NodeIndex::new(2).unwrap());
        assert!(!leases.is_fed(TimeMs(0), &stock, 100));
    }

    #[test]
    fn epochs_have_stocks_of_their_own() {
        let mut leases = Leases::default();
        for epoch in 0..3 {
            let ids = vec![id(epoch as u8, 0)];
            leases.add(TimeMs(0), &stock(epoch, &[1, 2]), ids, 8);
        }
        leases.drop_before(KEY, ShareEpoch(1));
        leases.drop_epoch(KEY, ShareEpoch(2));
        let left: Vec<usize> = (0..3).map(|e| leases.len(&stock(e, &[1, 2]))).collect();
        assert_eq!(left, [0, 1, 0]);
    }

    #[test]
    fn the_flow_forgets_what_is_older_than_its_window() {
        let stock = stock(0, &[1, 2]);
        let mut leases = Leases::default();
        leases.add(TimeMs(0), &stock, (0..8).map(|i| id(1, i)).collect(), 8);
        for second in [0, 1, 9] {
            leases.take(TimeMs(second * 1_000), &stock).unwrap();
        }
        assert_eq!(leases.flow_of(TimeMs(9_999), KEY), (8, 3));
        assert_eq!(leases.flow_of(TimeMs(10_000), KEY), (0, 2));
        assert_eq!(leases.flow_of(TimeMs(60_000), KEY), (0, 0));
    }
}
