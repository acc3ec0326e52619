//! The gateway: HTTP and JSON-RPC faces, routing, combining.
