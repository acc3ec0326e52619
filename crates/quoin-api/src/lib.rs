//! Wire types of HTTP and JSON-RPC, OpenAPI, and the frames between gateway and nodes.
