//! Rows in Postgres' binary COPY format. A request's rows are encoded where it is handled, so that the writer only joins bytes.

/// Microseconds between 1970 and 2000, where Postgres' clock begins.
pub(super) const EPOCH_US: i64 = 946_684_800_000_000;
/// The same in days.
const EPOCH_DAYS: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;

/// Signature, flags and header extension that open a binary COPY.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What closes it.
pub const TRAILER: &[u8] = &[0xff, 0xff];

/// Whole UTC days since 1970 of an instant.
pub fn day_of(at_us: i64) -> i32 {
    i32::try_from(at_us.div_euclid(DAY_US)).unwrap_or(i32::MAX)
}

/// Appends fields of one row after the other to a buffer.
pub struct RowWriter<'a>(&'a mut Vec<u8>);

impl<'a> RowWriter<'a> {
    pub fn begin(out: &'a mut Vec<u8>, fields: i16) -> Self {
        out.extend_from_slice(&fields.to_be_bytes());
        Self(out)
    }

    pub fn bytes(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.0.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
                self.0.extend_from_slice(value);
            }
            None => self.0.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }

    pub fn text(&mut self, value: Option<&str>) {
        self.bytes(value.map(str::as_bytes));
    }

    pub fn smallint(&mut self, value: Option<i16>) {
        self.bytes(value.map(i16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice));
    }

    /// Counters of events stop at 10⁹, far below the limit of `integer`.
    pub fn integer(&mut self, value: Option<u32>) {
        let value = value.map(|value| i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes());
        self.bytes(value.as_ref().map(<[u8; 4]>::as_slice));
    }

    pub fn bigint(&mut self, value: Option<i64>) {
        self.bytes(value.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }

    pub fn count(&mut self, value: Option<u64>) {
        self.bigint(value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub fn boolean(&mut self, value: Option<bool>) {
        self.bytes(value.map(|value| [u8::from(value)]).as_ref().map(<[u8; 1]>::as_slice));
    }

    /// Microseconds since 1970.
    pub fn timestamptz(&mut self, at_us: Option<i64>) {
        self.bigint(at_us.map(|at_us| at_us - EPOCH_US));
    }

    /// Days since 1970.
    pub fn date(&mut self, day: i32) {
        let day = i32::try_from(i64::from(day) - EPOCH_DAYS).unwrap_or(i32::MIN);
        self.bytes(Some(&day.to_be_bytes()));
    }

    pub fn jsonb(&mut self, value: Option<&str>) {
        match value {
            Some(value) => {
                self.0.extend_from_slice(&i32::try_from(value.len() + 1).unwrap_or(i32::MAX).to_be_bytes());
                self.0.push(1);
                self.0.extend_from_slice(value.as_bytes());
            }
            None => self.bytes(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_before_1970_round_down() {
        assert_eq!(day_of(-1), -1);
        assert_eq!(day_of(DAY_US), 1);
        assert_eq!(i64::from(day_of(EPOCH_US)), EPOCH_DAYS);
    }
}
