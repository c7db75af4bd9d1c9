//! What flows inside CopyData while a slot is streamed.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-replication.html>.

use bytes::{BufMut, BytesMut};

use crate::lsn::{EndLsn, Lsn};

/// A message of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// `wal_end` is how far the server has read its WAL, and with that how far the stream is complete.
    Keepalive { wal_end: Lsn, reply_requested: bool },
    /// One message of the output plugin. `start` is neither unique nor ordered: never acknowledge it.
    XLogData { start: Lsn, wal_end: Lsn, payload: &'a [u8] },
}

/// How many bytes stand before the payload of XLogData.
pub const XLOG_DATA_HEADER: usize = 25;

/// The bytes of a CopyData are no message of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a replication message that can't be read")]
pub struct StreamMessageError;

impl<'a> StreamMessage<'a> {
    /// Parses the content of a CopyData.
    ///
    /// # Errors
    /// It is neither of the two kinds, or cut.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StreamMessageError> {
        let lsn = |at: usize| bytes[at..].first_chunk().map(|lsn| Lsn(u64::from_be_bytes(*lsn)));
        match bytes.first() {
            Some(b'w') if bytes.len() >= XLOG_DATA_HEADER => Ok(Self::XLogData {
                start: lsn(1).ok_or(StreamMessageError)?,
                wal_end: lsn(9).ok_or(StreamMessageError)?,
                payload: &bytes[XLOG_DATA_HEADER..],
            }),
            Some(b'k') if bytes.len() == 18 => {
                Ok(Self::Keepalive { wal_end: lsn(1).ok_or(StreamMessageError)?, reply_requested: bytes[17] != 0 })
            }
            _ => Err(StreamMessageError),
        }
    }
}

/// Appends a standby status update, as a CopyData frame, that acknowledges `flushed`; with `None` it says only that
/// we live. `written` moves no slot. `reply` asks for a keepalive in return. `micros` are microseconds since 2000-01-01.
pub fn standby_status(buf: &mut BytesMut, flushed: Option<EndLsn>, written: Option<Lsn>, micros: i64, reply: bool) {
    // The server leaves the slot where it is on 0/0.
    let flushed = flushed.map_or(Lsn::ZERO, EndLsn::lsn).0;
    buf.reserve(39);
    buf.put_u8(super::frame::COPY_DATA);
    buf.put_i32(38);
    buf.put_u8(b'r');
    buf.put_u64(written.map_or(flushed, |written| written.0.max(flushed)));
    buf.put_u64(flushed); // Flushed: the only one that moves a logical slot.
    buf.put_u64(flushed); // Applied.
    buf.put_i64(micros);
    buf.put_u8(u8::from(reply));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read() {
        let mut data = vec![b'w'];
        data.extend(5u64.to_be_bytes());
        data.extend(9u64.to_be_bytes());
        data.extend(0u64.to_be_bytes());
        data.extend(b"Bx");
        assert_eq!(
            StreamMessage::parse(&data),
            Ok(StreamMessage::XLogData { start: Lsn(5), wal_end: Lsn(9), payload: b"Bx" })
        );
        let mut keepalive = vec![b'k'];
        keepalive.extend(7u64.to_be_bytes());
        keepalive.extend(0u64.to_be_bytes());
        keepalive.push(1);
        assert_eq!(
            StreamMessage::parse(&keepalive),
            Ok(StreamMessage::Keepalive { wal_end: Lsn(7), reply_requested: true })
        );
        for cut in 0..keepalive.len() {
            assert!(StreamMessage::parse(&keepalive[..cut]).is_err());
        }
        assert!(StreamMessage::parse(&data[..XLOG_DATA_HEADER - 1]).is_err());
    }

    #[test]
    fn the_status_update_has_the_length_it_names() {
        let mut buf = BytesMut::new();
        standby_status(&mut buf, Some(EndLsn::of_commit(Lsn(3))), Some(Lsn(7)), 0, true);
        let header = crate::wire::frame::Header::peek(&buf).unwrap().unwrap();
        assert_eq!((header.tag, header.len), (b'd', buf.len()));
        assert_eq!((&buf[6..14], &buf[14..22]), (&7u64.to_be_bytes()[..], &3u64.to_be_bytes()[..]));
    }
}
