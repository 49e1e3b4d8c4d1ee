//! Protocol Buffers: as much of their encoding as files written here need. <https://protobuf.dev/programming-guides/encoding>

/// A message as it is written. Its fields stand in the order of the calls, so that the same calls give the same bytes.
#[derive(Default)]
pub struct Message(Vec<u8>);

const VARINT: u32 = 0;
const LENGTH: u32 = 2;
const FIXED_32: u32 = 5;

impl Message {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// An integer, or the number of an enum's value.
    pub fn integer(&mut self, field: u32, value: i64) {
        self.tag(field, VARINT);
        // Negative ones have the bits of 64, as the encoding wants it.
        put_varint(&mut self.0, value as u64);
    }

    /// A number in 32 bits.
    pub fn float(&mut self, field: u32, value: f32) {
        self.tag(field, FIXED_32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A text.
    pub fn text(&mut self, field: u32, value: &str) {
        self.tag(field, LENGTH);
        put_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Integers, packed.
    pub fn integers(&mut self, field: u32, values: &[i64]) {
        self.message(field, |packed| {
            for &value in values {
                put_varint(&mut packed.0, value as u64);
            }
        });
    }

    /// Bytes: those of each value in turn.
    pub fn raw<T: Copy, const N: usize>(
        &mut self,
        field: u32,
        values: &[T],
        bytes_of: impl Fn(T) -> [u8; N],
    ) {
        self.tag(field, LENGTH);
        let length = values.len() * N;
        put_varint(&mut self.0, length as u64);
        self.0.reserve(length);
        for &value in values {
            self.0.extend_from_slice(&bytes_of(value));
        }
    }

    /// A message within this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH);
        let start = self.0.len();
        write(self);
        // Its length goes before it, and is known only now. Moving it there needs no second copy in memory.
        let mut length = Vec::new();
        put_varint(&mut length, (self.0.len() - start) as u64);
        self.0.splice(start..start, length);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        put_varint(&mut self.0, u64::from(field << 3 | kind));
    }
}

/// Seven bits in each byte, the lowest first; the highest bit says that more follow.
fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::default();
        write(&mut message);
        message.into_bytes()
    }

    /// The examples of the encoding's description, and what can be said of the others.
    #[test]
    fn fields_are_encoded_as_described() {
        let number = |message: &mut Message| message.integer(1, 150);
        assert_eq!(written(number), [0x08, 0x96, 0x01]);
        assert_eq!(
            written(|message| message.text(2, "testing")),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
        assert_eq!(
            written(|message| message.message(3, number)),
            [0x1a, 0x03, 0x08, 0x96, 0x01]
        );
        assert_eq!(
            written(|message| message.integers(6, &[3, 270, 86_942])),
            [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]
        );
        let minus_two = written(|message| message.integer(1, -2));
        assert_eq!(minus_two[..2], [0x08, 0xfe]);
        assert_eq!((minus_two.len(), minus_two[10]), (11, 0x01));
        assert_eq!(
            written(|message| message.float(16, 1.0)),
            [0x85, 0x01, 0, 0, 0x80, 0x3f]
        );
        assert_eq!(
            written(|message| message.raw(4, &[1u16, 0x203], u16::to_le_bytes)),
            [0x22, 0x04, 1, 0, 3, 2]
        );
    }

    #[test]
    fn lengths_of_more_than_a_byte_go_before_what_they_count() {
        let nested = written(|message| {
            message.message(1, |inner| {
                inner.message(2, |text| text.text(3, &"x".repeat(300)))
            });
        });
        let text = [&[0x1a, 0xac, 0x02][..], &[b'x'; 300]].concat();
        let inner = [&[0x12, 0xaf, 0x02][..], &text].concat();
        assert_eq!(nested, [&[0x0a, 0xb2, 0x02][..], &inner].concat());
    }
}
