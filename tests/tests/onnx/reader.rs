//! A reader of Protocol Buffers, which knows numbers of fields and nothing else. What is not as expected panics.

/// A message: the fields in their order.
pub struct Message<'a>(pub Vec<(u64, Field<'a>)>);

/// What a field holds.
pub enum Field<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes");
}

impl<'a> Message<'a> {
    pub fn read(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    fields.push((tag >> 3, Field::Integer(varint(&mut bytes) as i64)));
                    continue;
                }
                2 => varint(&mut bytes) as usize,
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            fields.push((tag >> 3, Field::Bytes(value)));
            bytes = rest;
        }
        Self(fields)
    }

    pub fn all(&self, number: u64) -> Vec<&'a [u8]> {
        let found = self.0.iter().filter(|(field, _)| *field == number);
        found
            .map(|(_, value)| match value {
                Field::Bytes(bytes) => *bytes,
                Field::Integer(value) => panic!("{number} is {value}"),
            })
            .collect()
    }

    pub fn bytes(&self, number: u64) -> &'a [u8] {
        let [one] = self.all(number)[..] else {
            panic!("field {number} is not there once")
        };
        one
    }

    pub fn message(&self, number: u64) -> Self {
        Self::read(self.bytes(number))
    }

    pub fn messages(&self, number: u64) -> Vec<Self> {
        self.all(number).into_iter().map(Self::read).collect()
    }

    pub fn text(&self, number: u64) -> &'a str {
        std::str::from_utf8(self.bytes(number)).unwrap()
    }

    pub fn texts(&self, number: u64) -> Vec<&'a str> {
        let all = self.all(number).into_iter();
        all.map(|bytes| std::str::from_utf8(bytes).unwrap())
            .collect()
    }

    pub fn integer(&self, number: u64) -> i64 {
        let mut found = self.0.iter().filter_map(|(field, value)| match value {
            Field::Integer(value) if *field == number => Some(*value),
            _ => None,
        });
        let one = found.next().unwrap();
        assert!(found.next().is_none());
        one
    }

    pub fn integers(&self, number: u64) -> Vec<i64> {
        let (mut packed, mut all) = (self.bytes(number), Vec::new());
        while !packed.is_empty() {
            all.push(varint(&mut packed) as i64);
        }
        all
    }

    /// The sizes of a `ValueInfoProto` of f32 after the batch.
    pub fn sizes(&self) -> Vec<i64> {
        let tensor = self.message(2).message(1);
        assert_eq!(tensor.integer(1), 1);
        let sizes = tensor.message(2).messages(1);
        assert_eq!(sizes[0].text(2), "batch");
        sizes[1..].iter().map(|size| size.integer(1)).collect()
    }
}
