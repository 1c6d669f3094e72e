//! Windows, not built yet: wintun.dll has two rings that it shares with its driver, and an event that is set when there is
//! something to read. UDP has segmentation (`UDP_SEND_MSG_SIZE`) and joining (`UDP_RECV_MAX_COALESCED_SIZE`) by
//! WSASendMsg and WSARecvMsg; WSAWaitForMultipleEvents waits for socket, ring and commands.

#[cfg_attr(
    not(target_os = "windows"),
    expect(unused_imports, reason = "only checked, as macOS stands for both")
)]
pub use super::stub::Tun;
#[cfg_attr(
    not(target_os = "windows"),
    expect(unused_imports, reason = "only checked, as macOS stands for both")
)]
pub(crate) use super::stub::{
    Poll, RecvRing, SendBatch, UdpSocket, Wakeup, WriteBatch, index_of, is_deleted,
};
