use super::*;

fn encoded(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::new(kind, payload).unwrap().encode(&mut out);
    out
}

#[test]
fn what_is_encoded_is_decoded_and_the_next_frame_starts_right_after() {
    let payloads: [&[u8]; 3] = [b"", b"{}", &vec![7; MAX_PAYLOAD_BYTES]];
    for kind in [Kind::Request, Kind::Response, Kind::Event] {
        for payload in payloads {
            let mut stream = encoded(kind, payload);
            let consumed = stream.len();
            stream.extend(encoded(Kind::Event, b"next"));
            let frame = Frame { kind, payload };
            assert_eq!(Frame::decode(&stream), Ok(Decoded::Frame { frame, consumed }));
        }
    }
}

#[test]
fn the_bytes_on_the_socket_are_these() {
    assert_eq!(encoded(Kind::Response, b"ok"), [1, 2, 0, 0, 0, 2, b'o', b'k']);
}

#[test]
fn a_frame_cut_anywhere_is_incomplete_and_says_how_much_it_needs() {
    let whole = encoded(Kind::Request, b"status");
    for cut in 0..whole.len() {
        let needed = if cut < HEADER_BYTES { HEADER_BYTES } else { whole.len() };
        assert_eq!(Frame::decode(&whole[..cut]), Ok(Decoded::Incomplete { needed }), "cut at {cut}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_payload_arrives() {
    let too_long = MAX_PAYLOAD_BYTES + 1;
    let mut header = vec![VERSION, 1];
    header.extend(u32::try_from(too_long).unwrap().to_be_bytes());
    assert_eq!(Frame::decode(&header), Err(FrameError::TooLong(too_long)));
    assert_eq!(Frame::decode(&[VERSION, 1, 255, 255, 255, 255]), Err(FrameError::TooLong(u32::MAX as usize)));
    assert_eq!(Frame::new(Kind::Request, &vec![0; too_long]), Err(FrameError::TooLong(too_long)));
}

#[test]
fn another_version_and_an_unknown_kind_are_refused_at_their_byte() {
    assert_eq!(Frame::decode(&[VERSION + 1]), Err(FrameError::Version(VERSION + 1)));
    assert_eq!(Frame::decode(b"GET / HTTP/1.1\r\n"), Err(FrameError::Version(b'G')));
    for kind in [0, 4, 255] {
        assert_eq!(Frame::decode(&[VERSION, kind]), Err(FrameError::Kind(kind)));
    }
}

#[test]
fn no_bytes_panic_or_ask_for_more_than_the_limit() {
    // xorshift: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3] % 4;
        }
        if let Ok(Decoded::Incomplete { needed }) = Frame::decode(&bytes) {
            assert!(needed > bytes.len() && needed <= HEADER_BYTES + MAX_PAYLOAD_BYTES);
        }
    }
}
