//! When rules speak, by clocks that are set forward and back.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc, Weekday};
use nexa_types::when::{TimeOfDay, When, WhenError, Window, WindowError, Zone};
use proptest::prelude::*;

const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn weekly(days: &[Weekday], from: &str, to: &str, zone: &str) -> When {
    let window =
        Window::new(days.iter().copied(), from.parse().unwrap(), to.parse().unwrap(), zone.parse().unwrap());
    When::new(None, None, vec![window.unwrap()]).unwrap()
}

/// The instants at which it changes, from one on.
fn changes(when: &When, from: &str, count: usize) -> Vec<DateTime<Utc>> {
    std::iter::successors(when.next_change(at(from)), |at| when.next_change(*at)).take(count).collect()
}

#[test]
fn without_limits_a_rule_always_speaks() {
    assert!(When::ALWAYS.is_always() && When::ALWAYS.is_active(at("1970-01-01T00:00:00Z")));
    assert_eq!(When::ALWAYS.next_change(at("2026-11-25T02:00:00Z")), None);
    assert_eq!(serde_json::from_str::<When>("{}").unwrap(), When::ALWAYS);
}

#[test]
fn it_speaks_at_its_first_instant_and_no_longer_at_its_last() {
    let (from, until) = (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let when = When::new(Some(from), Some(until), vec![]).unwrap();
    let moment = TimeDelta::nanoseconds(1);
    assert_eq!(
        [from - moment, from, until - moment, until].map(|at| when.is_active(at)),
        [false, true, true, false]
    );
    assert_eq!(when.next_change(from - moment), Some(from));
    assert_eq!(when.next_change(from), Some(until));
    assert_eq!(when.next_change(until), None);
}

#[test]
fn a_window_is_read_from_the_clocks_of_its_zone() {
    let when = weekly(&[Weekday::Mon, Weekday::Tue], "08:00", "18:00", "Europe/Berlin");
    // Winter: an hour ahead of UTC. 2026-11-23 is a Monday.
    let wanted =
        ["2026-11-23T07:00:00Z", "2026-11-23T17:00:00Z", "2026-11-24T07:00:00Z", "2026-11-24T17:00:00Z"];
    assert_eq!(changes(&when, "2026-11-22T00:00:00Z", 4), wanted.map(at));
    // Summer: two hours ahead.
    assert_eq!(when.next_change(at("2026-07-05T12:00:00Z")), Some(at("2026-07-06T06:00:00Z")));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
    let when = weekly(&[Weekday::Sun], "22:00", "06:00", "UTC");
    let wanted = ["2026-11-29T22:00:00Z", "2026-11-30T06:00:00Z", "2026-12-06T22:00:00Z"];
    assert_eq!(changes(&when, "2026-11-24T00:00:00Z", 3), wanted.map(at));
    assert!(when.is_active(at("2026-11-30T05:59:59Z")) && !when.is_active(at("2026-11-29T05:59:59Z")));
    let to_midnight = weekly(&[Weekday::Sun], "22:00", "00:00", "UTC");
    let to_the_end = weekly(&[Weekday::Sun], "22:00", "24:00", "UTC");
    for when in [to_midnight, to_the_end] {
        assert_eq!(changes(&when, "2026-11-29T23:00:00Z", 1), [at("2026-11-30T00:00:00Z")]);
    }
}

#[test]
fn where_clocks_skip_a_time_the_moment_they_are_set_stands_for_it() {
    // On 2027-03-28 clocks in Berlin go from 02:00 to 03:00, at 01:00 UTC.
    let set = at("2027-03-28T01:00:00Z");
    let begins = weekly(&[Weekday::Sun], "02:30", "05:00", "Europe/Berlin");
    assert_eq!(changes(&begins, "2027-03-28T00:00:00Z", 2), [set, at("2027-03-28T03:00:00Z")]);
    let ends = weekly(&[Weekday::Sun], "01:00", "02:30", "Europe/Berlin");
    assert_eq!(changes(&ends, "2027-03-27T23:00:00Z", 2), [at("2027-03-28T00:00:00Z"), set]);
    let skipped = weekly(&[Weekday::Sun], "02:15", "02:45", "Europe/Berlin");
    assert_eq!(skipped.next_change(at("2027-03-28T00:00:00Z")), Some(at("2027-04-04T00:15:00Z")));
    // Samoa had no 2011-12-30: clocks went from the end of the 29th, Thursday, to the 31st, at 10:00 UTC.
    let lost = weekly(&[Weekday::Thu], "20:00", "12:00", "Pacific/Apia");
    let wanted = ["2011-12-30T06:00:00Z", "2011-12-30T10:00:00Z"];
    assert_eq!(changes(&lost, "2011-12-29T12:00:00Z", 2), wanted.map(at));
}

#[test]
fn where_clocks_show_a_time_twice_a_window_opens_at_the_first_and_closes_at_the_second() {
    // On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00, at 01:00 UTC.
    let both = weekly(&[Weekday::Sun], "02:15", "02:45", "Europe/Berlin");
    let wanted = ["2026-10-25T00:15:00Z", "2026-10-25T01:45:00Z"];
    assert_eq!(changes(&both, "2026-10-25T00:00:00Z", 2), wanted.map(at));
    let longer = weekly(&[Weekday::Sun], "02:30", "05:00", "Europe/Berlin");
    let wanted = ["2026-10-25T00:30:00Z", "2026-10-25T04:00:00Z"];
    assert_eq!(changes(&longer, "2026-10-25T00:00:00Z", 2), wanted.map(at));
}

#[test]
fn windows_that_touch_are_one() {
    let day = |from: &str, to: &str| {
        Window::new(WEEK, from.parse().unwrap(), to.parse().unwrap(), Zone::UTC).unwrap()
    };
    let until = at("2026-12-24T18:00:00Z");
    let when = When::new(None, Some(until), vec![day("00:00", "12:00"), day("12:00", "24:00")]).unwrap();
    assert_eq!(when.next_change(at("2026-11-25T02:00:00Z")), Some(until));
    let endless = When::new(None, None, when.weekly().to_vec()).unwrap();
    assert_eq!(
        endless.next_change(at("2026-11-25T02:00:00Z")),
        Some(at("2028-01-01T00:00:00Z")),
        "asked again"
    );
}

#[test]
fn a_rule_that_ends_before_its_window_opens_never_speaks_again() {
    let window = weekly(&[Weekday::Sun], "10:00", "11:00", "UTC").weekly().to_vec();
    let when = When::new(None, Some(at("2026-11-27T00:00:00Z")), window).unwrap();
    assert_eq!(when.next_change(at("2026-11-25T02:00:00Z")), None);
    assert_eq!(when.next_active(at("2026-11-25T02:00:00Z")), None);
}

#[test]
fn what_never_speaks_is_refused() {
    let now = at("2026-11-25T02:00:00Z");
    assert_eq!(When::new(Some(now), Some(now), vec![]), Err(WhenError::NeverValid { from: now, until: now }));
    let eight = TimeOfDay::new(8, 0).unwrap();
    let end = TimeOfDay::new(24, 0).unwrap();
    assert_eq!(Window::new([], eight, end, Zone::UTC), Err(WindowError::NoDays));
    assert_eq!(Window::new(WEEK, eight, eight, Zone::UTC), Err(WindowError::Empty(eight)));
    assert_eq!(Window::new(WEEK, end, eight, Zone::UTC), Err(WindowError::BeginsAtEnd));
    let window = weekly(&WEEK, "08:00", "09:00", "UTC").weekly()[0].clone();
    assert_eq!(When::new(None, None, vec![window; 51]), Err(WhenError::TooManyWindows(51)));
}

#[test]
fn limits_have_this_shape_in_text() {
    let text = r#"{"valid_from":"2026-12-01T00:00:00Z","valid_until":"2027-01-01T00:00:00Z","weekly":[{"days":["mon","sun"],"from":"08:00","to":"24:00","zone":"Europe/Berlin"}]}"#;
    let when: When = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&when).unwrap(), text);
    for (from, to) in [
        (r#""sun""#, r#""sunday""#),
        (r#"["mon","sun"]"#, "[]"),
        ("08:00", "8:00"),
        ("08:00", "08:60"),
        ("24:00", "24:01"),
        ("24:00", "+4:00"),
        ("Europe/Berlin", "Berlin"),
        ("2027-01-01", "2026-12-01"),
        (r#""zone""#, r#""later":1,"zone""#),
        (r#""weekly""#, r#""monthly":1,"weekly""#),
    ] {
        let spoiled = text.replace(from, to);
        assert_ne!(spoiled, text);
        assert!(serde_json::from_str::<When>(&spoiled).is_err(), "{spoiled}");
    }
}

#[test]
fn every_zone_has_its_name() {
    assert!(Zone::names().count() > 400);
    for name in Zone::names() {
        assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
    }
}

fn time_of_day(minutes: u16) -> TimeOfDay {
    TimeOfDay::new(minutes / 60, minutes % 60).unwrap()
}

fn window() -> impl Strategy<Value = Window> {
    // Zones that set their clocks on different days, by half an hour, and one that never does.
    let zone = prop::sample::select(vec![
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "Pacific/Apia",
        "UTC",
    ]);
    let hours = prop_oneof![
        (0..1440_u16, 0..=1440_u16),
        // Around the hours at which clocks are set.
        (0..300_u16, 0..300_u16),
        Just((0, 1440)),
    ];
    let differ = hours.prop_filter("not empty", |(from, to)| from != to);
    (prop::sample::subsequence(WEEK.to_vec(), 1..=7), differ, zone).prop_map(|(days, (from, to), zone)| {
        Window::new(days, time_of_day(from), time_of_day(to), zone.parse().unwrap()).unwrap()
    })
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        // Around changes of clocks in both directions.
        (-200_000..200_000_i64).prop_map(|seconds| at("2027-03-28T01:00:00Z") + TimeDelta::seconds(seconds)),
        (-200_000..200_000_i64).prop_map(|seconds| at("2026-10-25T01:00:00Z") + TimeDelta::seconds(seconds)),
        (1_300_000_000..2_000_000_000_i64).prop_map(|seconds| Utc.timestamp_opt(seconds, 0).unwrap()),
    ]
}

fn when() -> impl Strategy<Value = When> {
    (
        prop::option::of(instant()),
        prop::option::of((1..100_000_000_i64).prop_map(TimeDelta::seconds)),
        prop::collection::vec(window(), 0..4),
        instant(),
    )
        .prop_map(|(from, lasts, weekly, otherwise)| {
            let until = lasts.map(|lasts| from.unwrap_or(otherwise) + lasts);
            When::new(from, until, weekly).unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn between_two_changes_nothing_changes(when in when(), start in instant(), parts in prop::collection::vec(0..1_000_000_i64, 20)) {
        let now = when.is_active(start);
        let end = when.next_change(start);
        prop_assert!(end.is_none_or(|end| end > start), "{:?}", end);
        let span = end.map_or(TimeDelta::days(900), |end| end - start);
        for part in parts {
            let inside = start + TimeDelta::microseconds(span.num_microseconds().unwrap() / 1_000_000 * part);
            prop_assert_eq!(when.is_active(inside), now, "{}", inside);
        }
        if let Some(end) = end {
            prop_assert_eq!(when.is_active(end - TimeDelta::nanoseconds(1)), now);
            // Only the limit of looking ahead may be told where nothing changes.
            prop_assert!(when.is_active(end) != now || end.year() >= start.year() + 2, "{}", end);
        }
    }

    #[test]
    fn what_a_window_opens_its_zone_s_clocks_show(window in window(), at in instant()) {
        let zone: chrono_tz::Tz = window.zone().to_string().parse().unwrap();
        let (days, from, to) = (window.days().collect::<Vec<_>>(), window.from(), window.to());
        let when = When::new(None, None, vec![window]).unwrap();
        let local = at.with_timezone(&zone);
        let day_around = [-1, 1].map(|side| (at + TimeDelta::days(side)).with_timezone(&zone).offset().to_string());
        // On days when clocks are not set, the window is what its text says.
        prop_assume!(day_around.iter().all(|offset| *offset == local.offset().to_string()));
        let clock = local.format("%H:%M").to_string().parse::<TimeOfDay>().unwrap();
        let opened = |day: Weekday| days.contains(&day);
        let wanted = if from < to {
            opened(local.weekday()) && from <= clock && clock < to
        } else {
            opened(local.weekday()) && from <= clock || opened(local.weekday().pred()) && clock < to
        };
        prop_assert_eq!(when.is_active(at), wanted);
    }

    #[test]
    fn text_and_back_is_the_same(when in when()) {
        let text = serde_json::to_string(&when).unwrap();
        prop_assert_eq!(serde_json::from_str::<When>(&text).unwrap(), when);
    }
}
