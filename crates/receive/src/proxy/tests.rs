use super::*;
use proptest::prelude::*;

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, rest].concat()
}

/// Source, destination, ports.
fn addresses(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let port = |address: SocketAddr| address.port().to_be_bytes();
    [
        &octets(source)[..],
        &octets(destination),
        &port(source),
        &port(destination),
    ]
    .concat()
}

fn of_client(source: &str, additions: &[u8]) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let (family, destination) = match source {
        SocketAddr::V4(_) => (0x11, "198.51.100.1:25"),
        SocketAddr::V6(_) => (0x21, "[2001:db8::25]:25"),
    };
    let rest = [&addresses(source, destination.parse().unwrap())[..], additions].concat();
    header(0x21, family, &rest)
}

fn addition(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, value].concat()
}

fn client(address: &str) -> Result<Header, Flaw> {
    Ok(Header::Client(address.parse().unwrap()))
}

fn invalid(octets: &[u8], why: &str) {
    match parse(octets) {
        Err(Flaw::Invalid(said)) => assert!(said.contains(why), "{said}, not {why}"),
        other => panic!("{other:?} of {octets:?}"),
    }
}

#[test]
fn a_header_names_its_client() {
    for address in ["192.0.2.7:40001", "[2001:db8::7]:40001", "127.0.0.5:1"] {
        assert_eq!(parse(&of_client(address, &[])), client(address));
        let noop = [addition(0x04, &[0; 40]), addition(0x20, b"\x01\0\0\0\0")].concat();
        assert_eq!(parse(&of_client(address, &noop)), client(address));
    }
    let mapped = of_client("[::ffff:192.0.2.7]:9", &[]);
    assert_eq!(
        parse(&mapped),
        client("192.0.2.7:9"),
        "relay.networks are IPv4 then"
    );
}

#[test]
fn the_example_of_proxy_protocol_txt_is_read_octet_by_octet() {
    // The octets are written down by hand: the helper above could be wrong in the same way as the parser.
    let octets = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x9c\x41\x00\x19";
    assert_eq!(parse(octets), client("192.0.2.7:40001"));
    for end in 0..octets.len() {
        let least = if end < FIXED { FIXED } else { octets.len() };
        assert_eq!(wanted(&octets[..end]), Ok(least), "{end}");
    }
}

#[test]
fn the_proxys_own_connections_are_known_whatever_follows() {
    assert_eq!(parse(&header(0x20, 0x00, &[])), Ok(Header::Local));
    assert_eq!(parse(&header(0x20, 0x11, &[7; 12])), Ok(Header::Local));
    assert_eq!(parse(&header(0x20, 0xff, &[7; 5])), Ok(Header::Local));
}

#[test]
fn what_does_not_name_a_client_of_tcp_is_never_taken_for_one() {
    let v4 = addresses("192.0.2.7:1".parse().unwrap(), "192.0.2.8:2".parse().unwrap());
    invalid(&header(0x21, 0x00, &v4), "UNSPEC");
    invalid(&header(0x21, 0x12, &v4), "TCP");
    invalid(&header(0x21, 0x22, &[1; 36]), "TCP");
    invalid(&header(0x21, 0x31, &[1; 216]), "TCP");
    invalid(&header(0x21, 0x99, &v4), "TCP");
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31] {
        invalid(&header(command, 0x11, &v4), "command");
    }
    for nobody in [
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[ff02::1]:1",
    ] {
        invalid(&of_client(nobody, &[]), "nobody");
    }
    invalid(&of_client("[::ffff:0.0.0.0]:1", &[]), "nobody");
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    invalid(&header(0x21, 0x11, &[1; 11]), "cut off");
    invalid(&header(0x21, 0x21, &[1; 35]), "cut off");
    invalid(&header(0x21, 0x21, &[]), "cut off");
    let whole = of_client("192.0.2.7:1", &[]);
    invalid(&whole[..whole.len() - 1], "length");
    invalid(&[&whole[..], b"E"].concat(), "length");
    let long = header(0x21, 0x11, &[0; MOST - FIXED + 1]);
    assert!(
        matches!(wanted(&long[..FIXED]), Err(Flaw::Invalid(_))),
        "before it is read"
    );
    assert_eq!(wanted(&header(0x20, 0, &[0; MOST - FIXED])), Ok(MOST));
}

#[test]
fn broken_additions_are_refused() {
    for broken in [
        &[4u8][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 0xff, 0xff, 1],
        &[4, 0, 0, 9],
    ] {
        invalid(&of_client("192.0.2.7:1", broken), "TLV");
    }
}

#[test]
fn a_checksum_is_verified() {
    assert_eq!(
        crc32c(b"123456789".iter().copied()),
        0xe306_9283,
        "its check value"
    );
    let with = |sum: u32| {
        let additions = [
            addition(0x05, b"unique"),
            addition(CHECKSUM, &sum.to_be_bytes()),
            addition(0x02, b"mx"),
        ];
        of_client("192.0.2.7:1", &additions.concat())
    };
    let right = crc32c(with(0).into_iter());
    assert_eq!(parse(&with(right)), client("192.0.2.7:1"));
    invalid(&with(right ^ 1), "CRC32C");
    let mut other = with(right);
    other[FIXED] ^= 1;
    invalid(&other, "CRC32C");
    invalid(&of_client("192.0.2.7:1", &addition(CHECKSUM, &[1, 2, 3])), "TLV");
    let twice = addition(CHECKSUM, &[0; 4]).repeat(2);
    invalid(&of_client("192.0.2.7:1", &twice), "TLV");
}

#[test]
fn what_is_no_header_is_told_from_one_that_is_wrong() {
    for other in [
        &b"EHLO x\r\n"[..],
        b"\x16\x03\x01",
        b"\r\n\r\n\0\r\nQUIX",
        b"X",
        b"PRINT",
        b"\r\n\r\n\0\r\nQUIT\r\nmore more",
    ] {
        assert_eq!(wanted(other), Err(Flaw::Missing), "{other:?}");
    }
    let version_1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\n";
    for end in 0..version_1.len() {
        match wanted(&version_1[..end]) {
            Ok(least) => assert!(end < 6 && least == FIXED, "{end}"),
            Err(Flaw::Invalid(why)) => assert!(end >= 6 && why.contains("version 1"), "{end}"),
            Err(Flaw::Missing) => panic!("{end}"),
        }
    }
}

proptest! {
    /// Any octets, on their own or behind what headers begin with.
    #[test]
    fn nothing_panics_and_nothing_longer_is_asked_for(
        begin in 0usize..=FIXED, tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let whole = header(0x21, 0x11, &[9; 12]);
        let octets = [&whole[..begin], &tail].concat();
        let asked = wanted(&octets);
        prop_assert!(asked.is_err() || asked.is_ok_and(|count| (FIXED..=MOST).contains(&count)));
        let _ = parse(&octets);
        let _ = parse(&tail);
    }

    /// What is told of a prefix holds for all that begins with it, so that a split changes nothing.
    #[test]
    fn any_split_asks_for_the_same(
        command in prop_oneof![Just(0x20u8), Just(0x21), any::<u8>()],
        family in prop_oneof![Just(0x11u8), Just(0x21), any::<u8>()],
        rest in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let whole = header(command, family, &rest);
        for end in 0..=whole.len() {
            let expected = if end < FIXED { FIXED } else { whole.len() };
            prop_assert_eq!(wanted(&whole[..end]), Ok(expected));
        }
        if let Ok(Header::Client(address)) = parse(&whole) {
            prop_assert!(command == 0x21 && (family == 0x11 || family == 0x21));
            prop_assert_eq!(address.ip(), address.ip().to_canonical());
        }
    }

    /// Every client comes back as it was written.
    #[test]
    fn every_address_comes_back(ip in any::<std::net::IpAddr>(), port in any::<u16>(), text in proptest::collection::vec(any::<u8>(), 0..50)) {
        let written = SocketAddr::new(ip, port);
        let read = parse(&of_client(&written.to_string(), &addition(0x05, &text)));
        match is_somebody(ip.to_canonical()) {
            true => prop_assert_eq!(read, Ok(Header::Client(SocketAddr::new(ip.to_canonical(), port)))),
            false => prop_assert!(read.is_err()),
        }
    }
}
