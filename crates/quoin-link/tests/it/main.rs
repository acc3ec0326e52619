//! Links over loopback: who is let in, what a connection survives, and in which order frames go.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod couriers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traffic;
