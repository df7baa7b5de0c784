//! Addresses for servers that have to be told where they listen.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// An address of this machine that nobody listens at, for a program to be started.
///
/// It is found without listening: a process that another test starts at that moment has inherited every descriptor until
/// its own program runs, and a listener that lives on in there takes connections which are then reset.
///
/// # Panics
/// Where all ports are taken.
pub fn free_address() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("there are descriptors left");
    // So that one that is inherited is not in the program's way.
    socket.set_reuseaddr(true).expect("it is a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
    socket.local_addr().expect("it is bound")
}
