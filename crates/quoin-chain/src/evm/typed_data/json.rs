//! Strict JSON: no key twice, no number that a reader could round, a bounded number of values.
//!
//! JSON in general leaves the meaning of a repeated key and of large numbers to the reader, so
//! two readers could see two messages in the same bytes. Here such bytes have no meaning at all.

use super::at;
use quoin_core::Rejection;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most values in one document; hashing typed data costs time for each.
const VALUES_MAX: usize = 4096;

/// Reads one JSON document whose errors are named below `root`.
pub(super) fn parse(bytes: &[u8], root: &str) -> Result<Value, Rejection> {
    let mut reader = Reader {
        values: 0,
        fault: None,
    };
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let seed = Node {
        reader: &mut reader,
        path: root.to_owned(),
    };
    // `serde_json` itself bounds the depth, at 128.
    let read = seed.deserialize(&mut source);
    let read = read.and_then(|value| source.end().map(|()| value));
    read.map_err(|error| {
        reader.fault.unwrap_or_else(|| {
            Rejection::caller(root.to_owned(), format!("malformed JSON: {error}"))
        })
    })
}

struct Reader {
    values: usize,
    fault: Option<Rejection>,
}

struct Node<'r> {
    reader: &'r mut Reader,
    path: String,
}

impl Node<'_> {
    /// Remembers the first fault with its path; the error that is returned only stops the reader.
    fn fault<E: Error>(&mut self, path: String, message: &str) -> E {
        self.reader
            .fault
            .get_or_insert_with(|| Rejection::caller(path, message));
        E::custom(message)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, d: D) -> Result<Value, D::Error> {
        self.reader.values = self.reader.values.saturating_add(1);
        if self.reader.values > VALUES_MAX {
            let path = self.path.clone();
            return Err(self.fault(path, &format!("over `{VALUES_MAX}` values")));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(mut self, _: f64) -> Result<Value, E> {
        let path = self.path.clone();
        Err(self.fault(
            path,
            "number has a fraction, an exponent or over 64 bits: write it as a decimal string",
        ))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Node {
            path: format!("{}[{}]", self.path, items.len()),
            reader: &mut *self.reader,
        })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = at(&self.path, &key);
            if object.contains_key(&key) {
                return Err(self.fault(path, "key appears twice"));
            }
            let value = map.next_value_seed(Node {
                path,
                reader: &mut *self.reader,
            })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
