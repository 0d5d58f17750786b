//! Ways from a pods' network to what listens on this machine's loopback.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Passes connections to `from` on to `to`, for as long as the test runs.
pub(in crate::kubelet) fn connections(from: SocketAddr, to: SocketAddr) {
    let listener = TcpListener::bind(from).unwrap_or_else(|error| panic!("{from}: {error}"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else {
                continue;
            };
            for (from, into) in [(&client, &server), (&server, &client)] {
                let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || pass(from, into));
            }
        }
    });
}

fn pass(mut from: TcpStream, mut into: TcpStream) {
    let mut block = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut block) {
        if count == 0 || into.write_all(&block[..count]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// Passes questions at port 53 of an address on to a name server.
pub(in crate::kubelet) fn names(address: Ipv4Addr, to: SocketAddr) {
    let from = SocketAddr::new(IpAddr::V4(address), 53);
    let socket = UdpSocket::bind(from).unwrap_or_else(|error| panic!("{from}: {error}"));
    std::thread::spawn(move || {
        let mut question = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut question) {
            let Ok(back) = socket.try_clone() else { continue };
            let question = question[..length].to_vec();
            std::thread::spawn(move || -> std::io::Result<()> {
                let upstream = UdpSocket::bind("127.0.0.1:0")?;
                upstream.set_read_timeout(Some(Duration::from_secs(5)))?;
                upstream.send_to(&question, to)?;
                let mut answer = [0; 4096];
                let (length, _) = upstream.recv_from(&mut answer)?;
                back.send_to(&answer[..length], client)?;
                Ok(())
            });
        }
    });
}
