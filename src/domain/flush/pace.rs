//! How hard a flush leans on Redis. The knob is the time of one step (one `UNLINK` page and one `SCAN` page in one pipeline), since that is
//! what a bystander waits for; COUNT is only what follows from it.

use std::time::Duration;

pub const COUNT_MIN: u32 = 16;
pub const COUNT_MAX: u32 = 20_000;
/// COUNT at the first step, before anything has been measured.
const COUNT_FIRST: u32 = 200;
/// How far COUNT may move in one step.
const SHRINK: f64 = 0.85;
const GROW: f64 = 1.15;

/// The speed that a person chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Fast,
    Normal,
    Gentle,
}

impl Pace {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fast" => Some(Self::Fast),
            "normal" => Some(Self::Normal),
            "gentle" => Some(Self::Gentle),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
            Self::Gentle => "gentle",
        }
    }

    /// The time that one step may take of the server.
    pub fn step(self) -> Duration {
        match self {
            Self::Fast => Duration::from_millis(1),
            Self::Normal | Self::Gentle => Duration::from_micros(500),
        }
    }

    /// How long to leave the server alone after a step of that length, where the brake has halved the pace so many times.
    pub fn rest(self, step: Duration, halved: u32) -> Duration {
        let duty = match self {
            Self::Fast | Self::Normal => 1,
            Self::Gentle => 2,
        };
        step * ((duty << halved.min(8)) - 1)
    }
}

/// Finds the COUNT at which a step takes its time.
#[derive(Debug)]
pub struct Stepper {
    aim: Duration,
    count: f64,
}

impl Stepper {
    pub fn new(pace: Pace) -> Self {
        Self { aim: pace.step(), count: f64::from(COUNT_FIRST) }
    }

    /// The COUNT for the next SCAN.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept between COUNT_MIN and COUNT_MAX")]
    pub fn count(&self) -> u32 {
        self.count.round() as u32
    }

    /// A step took `took` of the server (reply time less the connection's own round trip).
    pub fn took(&mut self, took: Duration) {
        let ratio = self.aim.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.count = (self.count * ratio.clamp(SHRINK, GROW)).clamp(f64::from(COUNT_MIN), f64::from(COUNT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_settles_where_a_step_takes_its_time() {
        let mut stepper = Stepper::new(Pace::Normal);
        for _ in 0..100 {
            let took = Duration::from_nanos(u64::from(stepper.count()) * 800);
            stepper.took(took);
        }
        assert!((600..=650).contains(&stepper.count()), "{}", stepper.count());
    }

    #[test]
    fn count_moves_slowly_and_within_its_limits() {
        let mut stepper = Stepper::new(Pace::Fast);
        stepper.took(Duration::ZERO);
        assert_eq!(stepper.count(), 230);
        for _ in 0..100 {
            stepper.took(Duration::from_secs(1));
        }
        assert_eq!(stepper.count(), COUNT_MIN);
        for _ in 0..100 {
            stepper.took(Duration::ZERO);
        }
        assert_eq!(stepper.count(), COUNT_MAX);
    }

    #[test]
    fn gentle_leaves_the_server_alone_half_of_the_time() {
        let step = Pace::Gentle.step();
        assert_eq!(Pace::Gentle.rest(step, 0), step);
        assert_eq!(Pace::Normal.rest(step, 0), Duration::ZERO);
        assert_eq!((Pace::Normal.rest(step, 1), Pace::Gentle.rest(step, 2)), (step, step * 7), "each halving doubles the whole");
    }
}
