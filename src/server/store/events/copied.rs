//! Rows out of Postgres' binary COPY, where there are so many that a row at a time would take most of the time.

use super::encode::{EPOCH_US, HEADER};
use futures::TryStreamExt as _;
use sqlx::PgConnection;

/// One row's fields.
pub struct Fields<'a, const N: usize>([Option<&'a [u8]>; N]);

impl<'a, const N: usize> Fields<'a, N> {
    pub fn bytes(&self, at: usize) -> Option<&'a [u8]> {
        self.0[at]
    }

    fn exact<const L: usize>(&self, at: usize) -> Result<Option<[u8; L]>, sqlx::Error> {
        self.0[at].map(|bytes| bytes.try_into().map_err(|_| garbled())).transpose()
    }

    pub fn smallint(&self, at: usize) -> Result<i16, sqlx::Error> {
        self.exact(at)?.map(i16::from_be_bytes).ok_or_else(garbled)
    }

    pub fn bigint(&self, at: usize) -> Result<i64, sqlx::Error> {
        self.exact(at)?.map(i64::from_be_bytes).ok_or_else(garbled)
    }

    /// `None` for null.
    pub fn count(&self, at: usize) -> Result<Option<u64>, sqlx::Error> {
        Ok(self.exact(at)?.map(|bytes| u64::try_from(i64::from_be_bytes(bytes)).unwrap_or(0)))
    }

    /// Microseconds since 1970.
    pub fn timestamptz(&self, at: usize) -> Result<i64, sqlx::Error> {
        Ok(self.bigint(at)? + EPOCH_US)
    }
}

fn garbled() -> sqlx::Error {
    sqlx::Error::Protocol("a binary COPY is not as it should be".into())
}

/// Splits what a COPY sends, however it is cut into messages.
struct Splitter {
    /// What is not whole yet.
    held: Vec<u8>,
    begun: bool,
}

impl Splitter {
    fn new() -> Self {
        Self { held: Vec::new(), begun: false }
    }

    fn take<const N: usize>(
        &mut self,
        chunk: &[u8],
        each: &mut impl FnMut(&Fields<'_, N>) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        self.held.extend_from_slice(chunk);
        let mut rest = self.held.as_slice();
        if !self.begun {
            let Some(after) = rest.get(HEADER.len()..) else { return Ok(()) };
            if !rest.starts_with(&HEADER[..11]) {
                return Err(garbled());
            }
            rest = after;
            self.begun = true;
        }
        while let Some((fields, after)) = split_row::<N>(rest)? {
            each(&fields)?;
            rest = after;
        }
        let left = rest.len();
        self.held.drain(..self.held.len() - left);
        Ok(())
    }
}

/// The first row and what follows it; `None` where it is not whole.
fn split_row<const N: usize>(bytes: &[u8]) -> Result<Option<(Fields<'_, N>, &[u8])>, sqlx::Error> {
    let Some((count, mut rest)) = bytes.split_first_chunk() else { return Ok(None) };
    match i16::from_be_bytes(*count) {
        -1 => return Ok(None),
        count if usize::try_from(count) != Ok(N) => return Err(garbled()),
        _ => {}
    }
    let mut fields = [None; N];
    for field in &mut fields {
        let Some((length, after)) = rest.split_first_chunk() else { return Ok(None) };
        rest = after;
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let Some((value, after)) = rest.split_at_checked(length) else { return Ok(None) };
            (*field, rest) = (Some(value), after);
        }
    }
    Ok(Some((Fields(fields), rest)))
}

/// Runs `query`, which must not hold anything that somebody else has written, and gives each of its rows.
pub async fn copy_out<const N: usize>(
    conn: &mut PgConnection,
    query: &str,
    mut each: impl FnMut(&Fields<'_, N>) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    let mut splitter = Splitter::new();
    let statement = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let mut outcome = Ok(());
    {
        let mut chunks = conn.copy_out_raw(&statement).await?;
        // All of it is taken, whatever is wrong with it: the connection is used again.
        while let Some(chunk) = chunks.try_next().await? {
            if outcome.is_ok() {
                outcome = splitter.take(&chunk, &mut each);
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::super::encode::{RowWriter, TRAILER};
    use super::*;

    #[test]
    fn rows_are_split_however_they_are_cut() {
        let mut whole = HEADER.to_vec();
        for i in 0..20_i64 {
            let mut row = RowWriter::begin(&mut whole, 3);
            row.bigint(Some(i));
            row.timestamptz(Some(i * 1_000_000));
            row.bytes((i % 3 != 0).then_some(&[7; 40][..usize::try_from(i).unwrap()]));
        }
        whole.extend_from_slice(TRAILER);
        for size in [1, 3, 19, 50, whole.len()] {
            let (mut splitter, mut found) = (Splitter::new(), Vec::new());
            for chunk in whole.chunks(size) {
                splitter
                    .take::<3>(chunk, &mut |row| {
                        found.push((row.bigint(0)?, row.timestamptz(1)?, row.bytes(2).map(<[u8]>::len)));
                        Ok(())
                    })
                    .unwrap();
            }
            let expected: Vec<_> = (0..20_i64).map(|i| (i, i * 1_000_000, (i % 3 != 0).then(|| usize::try_from(i).unwrap()))).collect();
            assert_eq!(found, expected, "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_such_copy_is_refused() {
        let mut each = |_: &Fields<'_, 3>| Ok(());
        assert!(Splitter::new().take(b"something else that is long enough", &mut each).is_err());
        let mut other = HEADER.to_vec();
        RowWriter::begin(&mut other, 2).bigint(Some(1));
        assert!(Splitter::new().take(&other, &mut each).is_err(), "another number of fields");
    }
}
