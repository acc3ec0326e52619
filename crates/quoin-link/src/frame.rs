//! The frame format, free of sockets: how a frame is cut into fragments and put together again.
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | length of what follows, big-endian: 1 to 1 + [`FRAGMENT_BYTES_MAX`] |
//! | 1 | kind: priority 0, 1, 2, plus `0x80` when more fragments of this frame follow; 3 is a keep-alive |
//! | rest | bytes of the frame |
//!
//! Fragments of one priority are in order; fragments of different priorities may alternate. That is
//! what lets a cancel overtake a presigning message of many megabytes that is already half sent.

use crate::error::LinkError;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest frame. The largest message is one round of a presigning batch, which is a few
/// megabytes; a charter is far smaller. Also the most one peer can make us hold per priority.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The longest fragment: an urgent frame waits for at most one of these (0.5 ms at 1 Gbit/s).
pub const FRAGMENT_BYTES_MAX: usize = 64 << 10;

/// Length and kind.
pub(crate) const HEADER_BYTES: usize = 5;

const MORE: u8 = 0x80;
const KEEPALIVE: u8 = 3;

/// What goes first when not everything can go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Cancels, freezes, heartbeats.
    Urgent,
    /// Signing, statements, ceremonies.
    Normal,
    /// Presigning and whatever else can wait or be lost.
    Bulk,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    fn kind(self) -> u8 {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }
}

/// One value for each priority.
#[derive(Debug, Default)]
pub(crate) struct PerPriority<T> {
    urgent: T,
    normal: T,
    bulk: T,
}

impl<T> PerPriority<T> {
    pub(crate) fn at_mut(&mut self, priority: Priority) -> &mut T {
        match priority {
            Priority::Urgent => &mut self.urgent,
            Priority::Normal => &mut self.normal,
            Priority::Bulk => &mut self.bulk,
        }
    }
}

/// Appends one fragment to `out`. `bytes` must be at most [`FRAGMENT_BYTES_MAX`] long.
pub(crate) fn write_fragment(out: &mut Vec<u8>, priority: Priority, bytes: &[u8], more: bool) {
    debug_assert!(bytes.len() <= FRAGMENT_BYTES_MAX, "the queue cuts frames");
    let kind = priority.kind() | if more { MORE } else { 0 };
    write_header(out, bytes.len(), kind);
    out.extend_from_slice(bytes);
}

/// Appends a keep-alive to `out`.
pub(crate) fn write_keepalive(out: &mut Vec<u8>) {
    write_header(out, 0, KEEPALIVE);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a fragment is at most 64 KiB long"
)]
fn write_header(out: &mut Vec<u8>, bytes: usize, kind: u8) {
    out.extend_from_slice(&(bytes as u32 + 1).to_be_bytes());
    out.push(kind);
}

/// A fragment's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Keepalive,
    Fragment {
        priority: Priority,
        bytes: usize,
        more: bool,
    },
}

impl Header {
    pub(crate) fn parse(raw: [u8; HEADER_BYTES]) -> Result<Self, LinkError> {
        let [a, b, c, d, kind] = raw;
        let length = u32::from_be_bytes([a, b, c, d]);
        let max = FRAGMENT_BYTES_MAX as u64 + 1;
        if length == 0 || u64::from(length) > max {
            let bytes = u64::from(length);
            return Err(LinkError::FragmentTooLong { bytes, max });
        }
        let bytes = length as usize - 1;
        if kind == KEEPALIVE {
            return if bytes == 0 {
                Ok(Self::Keepalive)
            } else {
                Err(LinkError::MalformedFragment(kind))
            };
        }
        let priority = Priority::ALL
            .into_iter()
            .find(|p| p.kind() == kind & !MORE)
            .ok_or(LinkError::UnknownKind(kind))?;
        let more = kind & MORE != 0;
        if more && bytes == 0 {
            // It would let a peer keep us busy without ever reaching the length limit.
            return Err(LinkError::MalformedFragment(kind));
        }
        Ok(Self::Fragment {
            priority,
            bytes,
            more,
        })
    }
}

/// What one read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Keepalive,
    /// A fragment arrived, its frame is not complete.
    Part,
    Frame(Priority, Vec<u8>),
}

/// Puts the fragments of one connection together.
#[derive(Debug)]
pub(crate) struct Assembler {
    partial: PerPriority<Vec<u8>>,
    bytes_max: usize,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Assembler {
    /// For frames of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            partial: PerPriority::default(),
            bytes_max,
        }
    }

    /// Reads one fragment. Not safe to cancel: after that the connection is of no more use.
    pub(crate) async fn read(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Result<Read, LinkError> {
        let mut raw = [0u8; HEADER_BYTES];
        read_exact(reader, &mut raw).await?;
        let (priority, bytes, more) = match Header::parse(raw)? {
            Header::Keepalive => return Ok(Read::Keepalive),
            Header::Fragment {
                priority,
                bytes,
                more,
            } => (priority, bytes, more),
        };
        let partial = self.partial.at_mut(priority);
        let had = partial.len();
        if had + bytes > self.bytes_max {
            return Err(LinkError::FrameTooLong(self.bytes_max));
        }
        partial.resize(had + bytes, 0);
        read_exact(reader, partial.get_mut(had..).unwrap_or_default()).await?;
        if more {
            Ok(Read::Part)
        } else {
            Ok(Read::Frame(priority, std::mem::take(partial)))
        }
    }
}

async fn read_exact(
    reader: &mut (impl AsyncRead + Unpin),
    out: &mut [u8],
) -> Result<(), LinkError> {
    match reader.read_exact(out).await {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(LinkError::Closed),
        Err(e) => Err(LinkError::io("read from peer")(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(mut bytes: &[u8]) -> (Vec<(Priority, Vec<u8>)>, LinkError) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut assembler, mut frames) = (Assembler::default(), Vec::new());
            loop {
                match assembler.read(&mut bytes).await {
                    Ok(Read::Frame(priority, body)) => frames.push((priority, body)),
                    Ok(_) => {}
                    Err(e) => return (frames, e),
                }
            }
        })
    }

    #[test]
    fn the_wire_form_is_pinned() {
        let mut out = Vec::new();
        write_fragment(&mut out, Priority::Bulk, b"ab", true);
        write_fragment(&mut out, Priority::Urgent, b"", false);
        write_keepalive(&mut out);
        assert_eq!(hex::encode(out), "0000000382616200000001000000000103");
    }

    #[test]
    fn fragments_of_two_priorities_may_alternate() {
        let mut out = Vec::new();
        write_fragment(&mut out, Priority::Bulk, b"one", true);
        write_fragment(&mut out, Priority::Urgent, b"cancel", false);
        write_fragment(&mut out, Priority::Bulk, b"two", false);
        let (frames, end) = read_all(&out);
        assert_eq!(
            frames,
            [
                (Priority::Urgent, b"cancel".to_vec()),
                (Priority::Bulk, b"onetwo".to_vec())
            ]
        );
        assert!(matches!(end, LinkError::Closed));
    }

    #[test]
    fn a_fragment_over_the_limit_is_refused_before_it_is_read() {
        let too_long = FRAGMENT_BYTES_MAX as u32 + 2;
        for length in [0, too_long, u32::MAX] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(0);
            assert!(
                matches!(read_all(&bytes).1, LinkError::FragmentTooLong { .. }),
                "{length}"
            );
        }
    }

    #[test]
    fn a_frame_of_the_longest_length_arrives_and_one_byte_more_is_refused() {
        let mut out = Vec::new();
        let part = vec![7u8; FRAGMENT_BYTES_MAX];
        for _ in 1..FRAME_BYTES_MAX / FRAGMENT_BYTES_MAX {
            write_fragment(&mut out, Priority::Bulk, &part, true);
        }
        let mut longest = out.clone();
        write_fragment(&mut longest, Priority::Bulk, &part, false);
        assert_eq!(read_all(&longest).0[0].1.len(), FRAME_BYTES_MAX);
        write_fragment(&mut out, Priority::Bulk, &part, true);
        write_fragment(&mut out, Priority::Bulk, &[0], false);
        assert!(matches!(read_all(&out).1, LinkError::FrameTooLong(_)));
    }

    #[test]
    fn kinds_without_a_meaning_are_refused() {
        for (kind, bytes) in [(4u8, 0u32), (0x7f, 0), (0x83, 0), (3, 1), (0x80, 0)] {
            let mut raw = (bytes + 1).to_be_bytes().to_vec();
            raw.push(kind);
            raw.push(0);
            assert!(
                matches!(
                    read_all(&raw).1,
                    LinkError::UnknownKind(_) | LinkError::MalformedFragment(_)
                ),
                "{kind:#x}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn mutated_frames_never_panic(
            bodies in proptest::collection::vec((0usize..3, proptest::collection::vec(any::<u8>(), 0..64)), 0..16),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut out = Vec::new();
            for (i, body) in &bodies {
                write_fragment(&mut out, Priority::ALL[*i], body, false);
            }
            let (frames, _) = read_all(&out);
            prop_assert_eq!(frames.len(), bodies.len());
            for (at, byte) in flips {
                if !out.is_empty() {
                    let at = at.index(out.len());
                    out[at] ^= byte;
                }
            }
            let _ = read_all(&out);
        }
    }
}
