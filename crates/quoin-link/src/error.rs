//! Why a link could not be made or was closed.

use crate::pins::PeerId;

/// One variant for each way a link fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The operating system refused a socket or file operation.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A key file that others may read.
    #[error("key file `{0}` is open to others (mode `{1:o}`): run `chmod 600` on it")]
    KeyFileOpenToOthers(String, u32),
    /// A key that is not one of the forms this crate writes.
    #[error("TLS key is malformed: {0}")]
    MalformedKey(String),
    /// The TLS library refused our own configuration.
    #[error("TLS configuration is unusable: {0}")]
    Tls(#[from] rustls::Error),
    /// The pin map names one key for two peers, or holds two keys for one.
    #[error("pins are ambiguous: `{0}` appears twice")]
    AmbiguousPins(String),
    /// The peer's key is pinned, but for somebody else than the one that was dialled.
    #[error("dialled `{expected}`, but `{found}` answered")]
    OtherPeer {
        /// Whom we dialled.
        expected: PeerId,
        /// Who answered.
        found: PeerId,
    },
    /// The peer's key is not pinned any more.
    #[error("the peer's key is not pinned")]
    NotPinned,
    /// The peer connected although it is our side that dials.
    #[error("`{0}` connected, but it is this side that dials it")]
    WrongDirection(PeerId),
    /// The peer speaks another protocol inside TLS.
    #[error("the peer did not agree on the frame protocol")]
    WrongProtocol,
    /// TCP, TLS and the first frame took too long.
    #[error("handshake took longer than `{0}` ms")]
    HandshakeTimeout(u64),
    /// Nothing was received for too long.
    #[error("nothing received for `{0}` ms")]
    Idle(u64),
    /// The peer does not read.
    #[error("peer did not read for `{0}` ms")]
    WriteTimeout(u64),
    /// A fragment that no honest peer sends.
    #[error("fragment of `{bytes}` bytes is over the limit of `{max}`")]
    FragmentTooLong {
        /// Announced length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A frame whose fragments add up to more than the limit.
    #[error("frame is longer than `{0}` bytes")]
    FrameTooLong(usize),
    /// A kind byte that has no meaning.
    #[error("unknown frame kind `{0:#04x}`")]
    UnknownKind(u8),
    /// A keep-alive that carries bytes, or a fragment that carries none but promises more.
    #[error("malformed fragment of kind `{0:#04x}`")]
    MalformedFragment(u8),
    /// A courier sent bulk.
    #[error("a courier may not send that")]
    NotForCouriers,
    /// The peer closed the connection.
    #[error("connection closed by the peer")]
    Closed,
    /// A newer connection of the same peer took over, or its pin was removed.
    #[error("connection replaced or no longer wanted")]
    Superseded,
    /// The endpoint is shutting down, or nobody receives any more.
    #[error("endpoint is shut down")]
    ShutDown,
}

impl LinkError {
    /// Wraps an input/output error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
