use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc, Weekday};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};

/// Hours that come again each week, by the clocks of one place.
///
/// It opens on each of its days when the clocks there show `from`, and closes when they show `to`: on the same day, or
/// where that is earlier, on the next one. When clocks are set forward and skip either time, the moment at which they
/// are set stands for it, so a window that is skipped whole does not open. When they are set back and show a time twice,
/// it opens at the first and closes at the second, so it never closes in between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WindowText", into = "WindowText")]
pub struct Window {
    /// One bit a day, Monday the lowest. Never 0.
    days: u8,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

/// Why days and times are no [`Window`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It would never open; an empty list must not be taken for every day.
    #[error("name at least one day, from mon to sun")]
    NoDays,
    /// It would close as it opens.
    #[error("the window begins and ends at {0}; for a whole day write from 00:00 to 24:00")]
    Empty(TimeOfDay),
    /// On no day do clocks show 24:00 before they show 00:00.
    #[error("a window cannot begin at 24:00; write 00:00, and name the next day")]
    BeginsAtEnd,
}

/// Minutes since midnight, 0 to 1440, as clocks show them. In text `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

/// Why a text is no [`TimeOfDay`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time of day; write it as 08:30, from 00:00 to 24:00")]
pub struct TimeOfDayError(String);

/// A time zone of the IANA database, by its name like `Europe/Berlin`. Its rules are those known when this program was
/// built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// Why a text is no [`Zone`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone; use a name of the IANA database, like Europe/Berlin or UTC")]
pub struct ZoneError(String);

const DAY_MINUTES: u16 = 24 * 60;

const DAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "mon"),
    (Weekday::Tue, "tue"),
    (Weekday::Wed, "wed"),
    (Weekday::Thu, "thu"),
    (Weekday::Fri, "fri"),
    (Weekday::Sat, "sat"),
    (Weekday::Sun, "sun"),
];

impl Window {
    /// Takes the days on which it opens, when it opens and closes, and where.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn new(
        days: impl IntoIterator<Item = Weekday>,
        from: TimeOfDay,
        to: TimeOfDay,
        zone: Zone,
    ) -> Result<Self, WindowError> {
        let days = days.into_iter().fold(0, |days, day| days | bit(day));
        if days == 0 {
            return Err(WindowError::NoDays);
        }
        if from.0 == DAY_MINUTES {
            return Err(WindowError::BeginsAtEnd);
        }
        if from == to {
            return Err(WindowError::Empty(from));
        }
        Ok(Self { days, from, to, zone })
    }

    /// The days on which it opens, Monday first.
    pub fn days(&self) -> impl Iterator<Item = Weekday> + '_ {
        DAYS.into_iter().map(|(day, _)| day).filter(|day| self.days & bit(*day) != 0)
    }

    /// When it opens.
    pub const fn from(&self) -> TimeOfDay {
        self.from
    }

    /// When it closes.
    pub const fn to(&self) -> TimeOfDay {
        self.to
    }

    /// Whose clocks are meant.
    pub const fn zone(&self) -> Zone {
        self.zone
    }

    /// Whether it is open at an instant.
    pub(super) fn is_open(&self, at: DateTime<Utc>) -> bool {
        // What opened on the day before yesterday may reach here where clocks skipped a whole day.
        self.openings(at, -2..=0).any(|(opens, closes)| opens <= at && at < closes)
    }

    /// The first instant after `after` at which it opens or closes; nothing at the end of the calendar.
    pub(super) fn next_edge(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A week holds one of its days, and the next week another where clocks skip the first.
        self.openings(after, -2..=9)
            .flat_map(|(opens, closes)| [opens, closes])
            .filter(|edge| after < *edge)
            .min()
    }

    /// When it opens and closes, for those days around `at` on which it does.
    fn openings(
        &self,
        at: DateTime<Utc>,
        days: std::ops::RangeInclusive<i64>,
    ) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let today = at.with_timezone(&self.zone.0).date_naive();
        days.filter_map(move |offset| {
            let day = shifted(today, offset)?;
            if self.days & bit(chrono::Datelike::weekday(&day)) == 0 {
                return None;
            }
            let last_day = if self.to > self.from { day } else { day.succ_opt()? };
            let opens = self.zone.instant(self.from.on(day)?, LocalResult::earliest)?;
            let closes = self.zone.instant(self.to.on(last_day)?, LocalResult::latest)?;
            (opens < closes).then_some((opens, closes))
        })
    }
}

fn shifted(day: NaiveDate, offset: i64) -> Option<NaiveDate> {
    let days = Days::new(offset.unsigned_abs());
    if offset < 0 { day.checked_sub_days(days) } else { day.checked_add_days(days) }
}

const fn bit(day: Weekday) -> u8 {
    1 << day.num_days_from_monday()
}

impl TimeOfDay {
    /// Takes hours and minutes.
    ///
    /// # Errors
    /// When no clock shows them, 24:00 apart.
    pub fn new(hours: u16, minutes: u16) -> Result<Self, TimeOfDayError> {
        match (hours, minutes) {
            (0..24, 0..60) | (24, 0) => Ok(Self(hours * 60 + minutes)),
            _ => Err(TimeOfDayError(format!("{hours:02}:{minutes:02}"))),
        }
    }

    /// As the clocks of a place show it; 24:00 is 00:00 of the next day.
    fn on(self, day: NaiveDate) -> Option<NaiveDateTime> {
        if self.0 == DAY_MINUTES {
            return Some(day.succ_opt()?.and_time(NaiveTime::MIN));
        }
        day.and_hms_opt((self.0 / 60).into(), (self.0 % 60).into(), 0)
    }
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(Tz::UTC);

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// When clocks here show `local`, which of two times where they do so twice, and when they are set where they skip
    /// it.
    fn instant(
        self,
        local: NaiveDateTime,
        which: impl FnOnce(LocalResult<DateTime<Tz>>) -> Option<DateTime<Tz>>,
    ) -> Option<DateTime<Utc>> {
        let shown = match self.0.from_local_datetime(&local) {
            LocalResult::None => GapInfo::new(&local, &self.0)?.end,
            shown => which(shown),
        };
        shown.map(|shown| shown.with_timezone(&Utc))
    }
}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TimeOfDayError(text.to_owned());
        let number = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten().ok_or_else(wrong)
        };
        let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
        Self::new(number(hours)?, number(minutes)?).map_err(|_| wrong())
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ZoneError(text.to_owned()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

crate::serde_as_text!(TimeOfDay);
crate::serde_as_text!(Zone);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    days: Vec<Day>,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

/// A day of the week, in text by its first three letters.
#[derive(Clone, Copy)]
struct Day(Weekday);

/// Why a text is no [`Day`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a day; use mon, tue, wed, thu, fri, sat or sun")]
struct DayError(String);

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = DAYS.into_iter().find(|(_, name)| *name == text);
        known.map(|(day, _)| Self(day)).ok_or_else(|| DayError(text.to_owned()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DAYS[self.0.num_days_from_monday() as usize].1)
    }
}

crate::serde_as_text!(Day);

impl TryFrom<WindowText> for Window {
    type Error = WindowError;

    fn try_from(text: WindowText) -> Result<Self, Self::Error> {
        Self::new(text.days.into_iter().map(|day| day.0), text.from, text.to, text.zone)
    }
}

impl From<Window> for WindowText {
    fn from(window: Window) -> Self {
        Self { days: window.days().map(Day).collect(), from: window.from, to: window.to, zone: window.zone }
    }
}
