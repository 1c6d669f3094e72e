//! macOS, not built yet: a `utun` is a socket of the system's control protocol (`SYSPROTO_CONTROL`), each packet behind
//! four bytes that say its family; there is no offload. UDP has neither GSO nor GRO, and batches go by `sendmsg_x`; kqueue
//! waits. `IPV6_PKTINFO` and `IP_SENDSRCADDR` are what chooses the source.

pub use super::stub::Tun;
pub(crate) use super::stub::{
    Poll, RecvRing, SendBatch, UdpSocket, Wakeup, WriteBatch, index_of, is_deleted,
};
