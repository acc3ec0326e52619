//! Stocks of presignature ids that nodes have lent to this gateway.
//!
//! An id is taken out of its stock for exactly one attempt and never comes back, whatever becomes
//! of the attempt. That nodes refuse a second use is what makes this safe; that the gateway never
//! tries is what makes it fast.

use quoin_core::{BatchHash, KeyId, NodeIndex, PresignatureId, SignerSet, TimeMs};
use std::collections::{BTreeMap, VecDeque};

/// A stock is kept for a key and a set of signers.
pub type StockId = (KeyId, SignerSet);

/// All stocks.
#[derive(Debug, Default)]
pub struct Leases {
    stocks: BTreeMap<StockId, Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    ids: VecDeque<PresignatureId>,
    asked: Option<TimeMs>,
}

impl Leases {
    /// Takes the oldest id of a stock.
    pub fn take(&mut self, stock: &StockId) -> Option<PresignatureId> {
        self.stocks.get_mut(stock)?.ids.pop_front()
    }

    /// How many ids a stock has.
    #[must_use]
    pub fn len(&self, stock: &StockId) -> usize {
        self.stocks.get(stock).map_or(0, |s| s.ids.len())
    }

    /// How many ids all stocks of a key have together.
    #[must_use]
    pub fn of_key(&self, key: KeyId) -> usize {
        self.stocks
            .iter()
            .filter(|((k, _), _)| *k == key)
            .map(|(_, s)| s.ids.len())
            .sum()
    }

    /// Whether a lease should be asked for now; when so, it is noted that it was.
    pub fn should_ask(&mut self, now: TimeMs, stock: &StockId, low: usize, retry_ms: u64) -> bool {
        let stock = self.stocks.entry(stock.clone()).or_default();
        let due = stock.asked.is_none_or(|at| now.since(at) >= retry_ms);
        let ask = stock.ids.len() < low && due;
        if ask {
            stock.asked = Some(now);
        }
        ask
    }

    /// Adds lent ids, up to `max` in stock. A fruitful lease lets the next one follow at once.
    pub fn add(&mut self, stock: &StockId, ids: Vec<PresignatureId>, max: usize) {
        let stock = self.stocks.entry(stock.clone()).or_default();
        if !ids.is_empty() {
            stock.asked = None;
        }
        for id in ids {
            if stock.ids.len() < max && !stock.ids.contains(&id) {
                stock.ids.push_back(id);
            }
        }
    }

    /// Forgets the ids of one batch, which the signers no longer have.
    pub fn drop_batch(&mut self, stock: &StockId, batch: BatchHash) {
        if let Some(stock) = self.stocks.get_mut(stock) {
            stock.ids.retain(|id| id.batch != batch);
        }
    }

    /// Forgets every id that needs `node`: pools do not survive its restart.
    pub fn drop_node(&mut self, node: NodeIndex) {
        self.stocks.retain(|(_, set), _| !set.contains(node));
    }

    /// Forgets every id that `node` has lent: it takes them back when the connection breaks, and may
    /// lend them to another gateway.
    pub fn drop_lender(&mut self, node: NodeIndex) {
        self.stocks.retain(|(_, set), _| set.lowest() != node);
    }

    /// Forgets every id of `key`, whose shares have moved on.
    pub fn drop_key(&mut self, key: KeyId) {
        self.stocks.retain(|(k, _), _| *k != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_id_is_lent_once() {
        let stock = (KeyId([1; 16]), set(&[1, 2]));
        let mut leases = Leases::default();
        leases.add(&stock, vec![id(1, 0), id(1, 0), id(1, 1)], 8);
        assert_eq!(leases.take(&stock), Some(id(1, 0)));
        assert_eq!(leases.take(&stock), Some(id(1, 1)));
        assert_eq!(leases.take(&stock), None);
    }

    #[test]
    fn a_restarted_node_takes_its_ids_with_it() {
        let key = KeyId([1; 16]);
        let mut leases = Leases::default();
        leases.add(&(key, set(&[1, 2])), vec![id(1, 0)], 8);
        leases.add(&(key, set(&[1, 3])), vec![id(2, 0)], 8);
        leases.drop_node(NodeIndex::new(2).unwrap());
        assert_eq!(leases.len(&(key, set(&[1, 2]))), 0);
        assert_eq!(leases.len(&(key, set(&[1, 3]))), 1);
    }

    #[test]
    fn an_empty_stock_is_asked_for_at_intervals() {
        let stock = (KeyId([1; 16]), set(&[1, 2]));
        let mut leases = Leases::default();
        assert!(leases.should_ask(TimeMs(0), &stock, 4, 100));
        assert!(!leases.should_ask(TimeMs(99), &stock, 4, 100));
        assert!(leases.should_ask(TimeMs(100), &stock, 4, 100));
        leases.add(&stock, (0..8).map(|i| id(1, i)).collect(), 6);
        assert_eq!(leases.len(&stock), 6);
        assert!(!leases.should_ask(TimeMs(500), &stock, 4, 100));
        leases.drop_batch(&stock, BatchHash([1; 32]));
        assert_eq!(leases.of_key(KeyId([1; 16])), 0);
    }
}
