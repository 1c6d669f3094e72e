/// Version of the frame and of the messages in it. Both ends ship together, so that any other is refused.
pub const VERSION: u8 = 1;

/// The largest payload of a frame, bytes. A profile with a few thousand prefixes fits; a flood does not.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 10;

/// Bytes before the payload: version, kind, and the payload's length as a big-endian `u32`.
pub const HEADER_BYTES: usize = 6;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The window or the command asks the service.
    Request,
    /// The service's one answer to a request.
    Response,
    /// The service tells of a change, unasked.
    Event,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Event => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Request),
            2 => Some(Self::Response),
            3 => Some(Self::Event),
            _ => None,
        }
    }
}

/// One message on the socket, its payload borrowed from the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    kind: Kind,
    payload: &'a [u8],
}

/// Why bytes are no frame, or a payload fits in none. The connection is closed on any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The other end is of another version.
    #[error("the other end speaks version {0}, this one {VERSION}; install both from the same release")]
    Version(u8),
    /// A kind that this version does not have.
    #[error("a frame of kind {0} is not known")]
    Kind(u8),
    /// Longer than any message may be.
    #[error("a payload of {0} bytes is over the limit of {MAX_PAYLOAD_BYTES}")]
    TooLong(usize),
}

/// What is at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes that it took; the next frame starts after them.
        consumed: usize,
    },
    /// A frame's beginning, right so far.
    Incomplete {
        /// How many bytes the buffer must hold before another try makes sense; never over the limit.
        needed: usize,
    },
}

impl<'a> Frame<'a> {
    /// Takes a payload within the limit.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub const fn new(kind: Kind, payload: &'a [u8]) -> Result<Self, FrameError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLong(payload.len()));
        }
        Ok(Self { kind, payload })
    }

    /// What it is for.
    pub const fn kind(self) -> Kind {
        self.kind
    }

    /// The message's bytes.
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }

    /// Appends the frame as it goes on the socket.
    pub fn encode(self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).expect("a frame holds at most MAX_PAYLOAD_BYTES");
        out.reserve(HEADER_BYTES + self.payload.len());
        out.extend_from_slice(&[VERSION, self.kind.code()]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.payload);
    }

    /// Reads the frame at the start of `bytes`. Each field is judged as soon as it is there, so that a wrong
    /// version or a length over the limit is refused before anything is buffered for it.
    ///
    /// # Errors
    /// [`FrameError`], after which the stream has no meaning any more.
    pub fn decode(bytes: &'a [u8]) -> Result<Decoded<'a>, FrameError> {
        if let Some(&version) = bytes.first()
            && version != VERSION
        {
            return Err(FrameError::Version(version));
        }
        let kind = match bytes.get(1) {
            Some(&code) => Kind::from_code(code).ok_or(FrameError::Kind(code))?,
            None => return Ok(Decoded::Incomplete { needed: HEADER_BYTES }),
        };
        let Some((&[_, _, length @ ..], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Decoded::Incomplete { needed: HEADER_BYTES });
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let consumed = HEADER_BYTES + length;
        Ok(match rest.get(..length) {
            Some(payload) => Decoded::Frame { frame: Self { kind, payload }, consumed },
            None => Decoded::Incomplete { needed: consumed },
        })
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
