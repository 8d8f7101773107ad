//! The bytes of a record's value: one or several events of a run that were appended together, in chunks.
//!
//! What fits into one chunk is one value: the events of a sequential step are one insertion. Layout 1, one event to a
//! record, is still read.

use super::record::{BODY_MAX, CHUNK_MAX, Hash, event_key};

/// The layout of a record with one event: number of chunks, body length, hash of the event before, own hash, body.
const ONE: u8 = 1;
#[cfg(test)]
const ONE_HEADER: usize = 1 + 2 + 4 + 32 + 32;

/// The layout of a record with several: number of chunks, number of events, hash of the event before the first.
const SEVERAL: u8 = 2;
const HEADER: usize = 1 + 2 + 2 + 32;

/// What stands before each body: its length and the event's hash.
const EVENT: usize = 4 + 32;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Adds the records of events of one run, of which the first is `first` and follows the one with the hash `before`:
/// as many events to a record as one chunk takes, and one that is longer in chunks of its own.
pub(super) fn encode(
    entries: &mut Vec<Entry>,
    slot: u32,
    first: u64,
    before: &Hash,
    events: &[(Hash, &[u8])],
) {
    let (mut seq, mut before, mut rest) = (first, *before, events);
    while !rest.is_empty() {
        let (record, later) = rest.split_at(fitting(rest));
        let mut value = Vec::with_capacity(CHUNK_MAX.min(length(record)));
        let chunks = u16::try_from(length(record).div_ceil(CHUNK_MAX)).expect("a body is at most BODY_MAX");
        value.push(SEVERAL);
        value.extend(chunks.to_be_bytes());
        value.extend(u16::try_from(record.len()).expect("what fits into a chunk").to_be_bytes());
        value.extend(before.0);
        for (hash, body) in record {
            value.extend(u32::try_from(body.len()).expect("a body is at most BODY_MAX").to_be_bytes());
            value.extend(hash.0);
            value.extend(*body);
            before = *hash;
        }
        if chunks == 1 {
            entries.push((event_key(slot, seq, 0).to_vec(), value));
        } else {
            let parts = (0..).zip(value.chunks(CHUNK_MAX));
            entries.extend(parts.map(|(chunk, part)| (event_key(slot, seq, chunk).to_vec(), part.to_vec())));
        }
        seq += record.len() as u64;
        rest = later;
    }
}

/// The length of a record with these events.
fn length(events: &[(Hash, &[u8])]) -> usize {
    HEADER + events.iter().map(|(_, body)| EVENT + body.len()).sum::<usize>()
}

/// How many of these events one record takes: at least one, and more only as far as they fit into one chunk.
fn fitting(events: &[(Hash, &[u8])]) -> usize {
    let mut whole = HEADER;
    let fit = events.iter().take_while(|(_, body)| {
        whole += EVENT + body.len();
        whole <= CHUNK_MAX
    });
    fit.count().max(1)
}

/// A record being read, chunk by chunk.
#[derive(Debug)]
pub(super) struct Partial {
    /// The hash of the event before the first.
    pub(super) before: Hash,
    /// The events in order; the body of the last one grows with every chunk.
    pub(super) events: Vec<(Hash, Vec<u8>)>,
    chunks: u16,
    next: u16,
    /// The whole length of the last body.
    length: usize,
}

impl Partial {
    /// Takes the first chunk: of every event its hash is known from then on, its content is not checked.
    pub(super) fn begin(value: &[u8]) -> Result<Self, String> {
        let mut rest = Rest(value);
        let layout = rest.take(1).map_err(|_| "the record is empty")?[0];
        let chunks = match layout {
            ONE | SEVERAL => rest.number::<2>()?,
            other => {
                return Err(format!("the record has layout {other}, and only {ONE} and {SEVERAL} are known"));
            }
        };
        let mut partial = Self { before: Hash([0; 32]), events: Vec::new(), chunks: 0, next: 1, length: 0 };
        partial.chunks = u16::try_from(chunks).expect("two bytes");
        if layout == ONE {
            partial.length = rest.number::<4>()?;
            partial.before = rest.hash()?;
            let hash = rest.hash()?;
            partial.last(hash, rest.0)?;
            return Ok(partial);
        }
        let events = rest.number::<2>()?;
        partial.before = rest.hash()?;
        if events == 0 || chunks != 1 && events != 1 {
            return Err(format!("the record says it has {events} events, which cannot be"));
        }
        for at in 1..=events {
            partial.length = rest.number::<4>()?;
            let hash = rest.hash()?;
            if at < events {
                partial.events.push((hash, rest.take(partial.length)?.to_vec()));
            } else {
                partial.last(hash, rest.0)?;
            }
        }
        Ok(partial)
    }

    /// Adds the last event, of whose body this much is there.
    fn last(&mut self, hash: Hash, body: &[u8]) -> Result<(), String> {
        if self.length > BODY_MAX || body.len() > self.length {
            return Err(format!("the record says it has {} bytes, which cannot be", self.length));
        }
        self.events.push((hash, body.to_vec()));
        Ok(())
    }

    /// Whether chunks are still to come.
    pub(super) fn is_partial(&self) -> bool {
        self.next < self.chunks
    }

    /// Takes a further chunk.
    pub(super) fn push(&mut self, chunk: u16, value: &[u8]) -> Result<(), String> {
        let Some((_, body)) =
            self.events.last_mut().filter(|_| self.next < self.chunks && chunk == self.next)
        else {
            return Err(format!("chunk {} of {} is missing", self.next, self.chunks));
        };
        body.extend_from_slice(value);
        self.next += 1;
        Ok(())
    }

    /// Checks that all of a record is there. Whether its events are what their hashes say is the reader's to check.
    pub(super) fn check_whole(&self) -> Result<(), String> {
        if self.is_partial() {
            return Err(format!("chunk {} of {} is missing", self.next, self.chunks));
        }
        let there = self.events.last().map_or(0, |(_, body)| body.len());
        if there != self.length {
            return Err(format!("it has {there} bytes instead of {}", self.length));
        }
        Ok(())
    }
}

/// What is left of a value.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("the record is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of so many bytes, at most four.
    fn number<const BYTES: usize>(&mut self) -> Result<usize, String> {
        Ok(self.take(BYTES)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn hash(&mut self) -> Result<Hash, String> {
        Ok(Hash(self.take(32)?.try_into().expect("32 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{chain, event_place, genesis};
    use super::*;

    /// What layout 1 wrote: one event to a record.
    fn encode_one(before: &Hash, hash: &Hash, body: &[u8]) -> Vec<Vec<u8>> {
        let first = body.len().min(CHUNK_MAX - ONE_HEADER);
        let rest = body[first..].chunks(CHUNK_MAX);
        let mut value = vec![ONE];
        value.extend(u16::try_from(1 + rest.len()).unwrap().to_be_bytes());
        value.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        value.extend(before.0);
        value.extend(hash.0);
        value.extend(&body[..first]);
        std::iter::once(value).chain(rest.map(<[u8]>::to_vec)).collect()
    }

    fn read(values: &[Vec<u8>]) -> Partial {
        let mut partial = Partial::begin(&values[0]).unwrap();
        for (i, value) in values.iter().enumerate().skip(1) {
            assert!(partial.is_partial() && partial.check_whole().is_err());
            assert!(partial.push(u16::try_from(i + 1).unwrap(), value).is_err());
            partial.push(u16::try_from(i).unwrap(), value).unwrap();
        }
        assert!(!partial.is_partial());
        assert!(partial.push(1, b"").is_err());
        partial.check_whole().unwrap();
        partial
    }

    /// Bodies of these lengths, each following the one before.
    fn events(lengths: &[usize]) -> (Hash, Vec<(Hash, Vec<u8>)>) {
        let genesis = genesis("j", None);
        let mut before = genesis;
        let events = (7..).zip(lengths).map(|(seq, length)| {
            let body = vec![seq as u8; *length];
            before = chain(&before, seq, &body);
            (before, body)
        });
        (genesis, events.collect())
    }

    /// How many events the records have, after a look at all of them.
    fn cycle(lengths: &[usize]) -> Vec<usize> {
        let (mut before, events) = events(lengths);
        let borrowed: Vec<_> = events.iter().map(|(hash, body)| (*hash, body.as_slice())).collect();
        let mut entries = Vec::new();
        encode(&mut entries, 3, 7, &before, &borrowed);
        assert!(entries.iter().all(|(_, value)| value.len() <= CHUNK_MAX));
        assert!(entries.is_sorted());
        let (mut seq, mut counts) = (7, Vec::new());
        for record in entries.chunk_by(|a, b| a.0[..13] == b.0[..13]) {
            assert_eq!(event_place(&record[0].0), Some((seq, 0)));
            let values: Vec<_> = record.iter().map(|(_, value)| value.clone()).collect();
            let found = read(&values);
            assert_eq!(found.before, before);
            let from = usize::try_from(seq - 7).unwrap();
            assert_eq!(found.events, events[from..from + found.events.len()]);
            before = found.events.last().unwrap().0;
            seq += found.events.len() as u64;
            counts.push(found.events.len());
        }
        assert_eq!(seq - 7, lengths.len() as u64);
        counts
    }

    #[test]
    fn every_length_comes_back_as_it_was() {
        let first = CHUNK_MAX - HEADER - EVENT;
        for len in
            [0, 1, 250, first - 1, first, first + 1, first + CHUNK_MAX, first + CHUNK_MAX + 1, BODY_MAX]
        {
            assert_eq!(cycle(&[len]), [1]);
        }
    }

    #[test]
    fn events_share_a_record_as_far_as_one_chunk_goes() {
        let half = (CHUNK_MAX - HEADER) / 2 - EVENT;
        assert_eq!(cycle(&[150, 150]), [2]);
        assert_eq!(cycle(&[half, half]), [2]);
        assert_eq!(cycle(&[half, half + 2, 2]), [1, 2]);
        assert_eq!(cycle(&[10, 20_000, 10, 0]), [1, 1, 2]);
        assert_eq!(cycle(&[0; 300]), [112, 112, 76]);
        assert_eq!(cycle(&[]), [0; 0]);
    }

    #[test]
    fn layout_one_is_still_read() {
        let first = CHUNK_MAX - ONE_HEADER;
        for len in [0, 1, 250, first, first + 1, first + CHUNK_MAX + 1, BODY_MAX] {
            let (before, events) = events(&[len]);
            let (hash, body) = &events[0];
            let found = read(&encode_one(&before, hash, body));
            assert_eq!((found.before, found.events), (before, events));
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        let looks = |value: &[u8]| Partial::begin(value).and_then(|partial| partial.check_whole());
        let garbage =
            [&[][..], &[9], &[1, 0], &[2, 0, 1], &[1; ONE_HEADER - 1], &[2; HEADER + EVENT], &[255; 200]];
        for value in garbage.into_iter().chain([&[1; 200][..], &[2; 200]]) {
            assert!(looks(value).is_err(), "{value:?}");
        }
        // Every cut of a good one; and of every changed byte of its frame it says something, or the hashes do.
        let (before, events) = events(&[20, 30]);
        let borrowed: Vec<_> = events.iter().map(|(hash, body)| (*hash, body.as_slice())).collect();
        let mut entries = Vec::new();
        encode(&mut entries, 3, 7, &before, &borrowed);
        let whole = &entries[0].1;
        looks(whole).unwrap();
        for at in 0..whole.len() {
            assert!(looks(&whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                let Ok(found) = Partial::begin(&bent) else { continue };
                let (mut link, mut sound) = (before, found.check_whole().is_ok() && found.before == before);
                sound &= found.events.len() == 2;
                for (seq, (hash, body)) in (7..).zip(&found.events) {
                    sound &= chain(&link, seq, body) == *hash;
                    link = *hash;
                }
                assert!(!sound, "byte {at}, bit {bit}");
            }
        }
    }
}
