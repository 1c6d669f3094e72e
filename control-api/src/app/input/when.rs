use nexa_config::near::{did_you_mean, near};
use nexa_types::When;
use nexa_types::when::{TimeOfDay, WhenError, Window, WindowError, Zone};

use super::{Error, Result};
use crate::model::{WhenBody, WindowBody};

/// Zones that resemble an unknown one, at most.
const NEAR_ZONES: usize = 3;

/// When a rule speaks.
pub(in crate::app) fn when(body: &WhenBody) -> Result<When> {
    let windows = body.weekly.iter().enumerate();
    let weekly =
        windows.map(|(index, body)| window(&format!("when.weekly[{index}]"), body)).collect::<Result<_>>()?;
    When::new(body.valid_from, body.valid_until, weekly).map_err(|error| match error {
        WhenError::NeverValid { .. } => Error::invalid("empty_period", "when.valid_until", error),
        WhenError::TooManyWindows(_) => Error::invalid("too_many", "when.weekly", error),
    })
}

fn window(field: &str, body: &WindowBody) -> Result<Window> {
    for (index, day) in body.days.iter().enumerate() {
        if body.days[..index].contains(day) {
            let detail = "this day is in the list already; leave it out here";
            return Err(Error::invalid("duplicate", format!("{field}.days[{index}]"), detail));
        }
    }
    let time = |member: &str, text: &str| {
        let time = text.parse::<TimeOfDay>();
        time.map_err(|error| Error::invalid("invalid_time", format!("{field}.{member}"), error))
    };
    let (from, to) = (time("from", &body.from)?, time("to", &body.to)?);
    let zone: Zone = body.zone.parse().map_err(|error| {
        let question = did_you_mean(&near_zones(&body.zone));
        Error::invalid("unknown_zone", format!("{field}.zone"), format!("{error}{question}"))
    })?;
    let days = body.days.iter().copied().map(Into::into);
    Window::new(days, from, to, zone).map_err(|error| match error {
        WindowError::NoDays => Error::invalid("empty_list", format!("{field}.days"), error),
        WindowError::Empty(_) => Error::invalid("empty_window", format!("{field}.to"), error),
        WindowError::BeginsAtEnd => Error::invalid("invalid_time", format!("{field}.from"), error),
    })
}

/// Zones that were probably meant: those of a place that was named without its continent, else those spelt alike.
fn near_zones(wrong: &str) -> Vec<&'static str> {
    let place = wrong.replace(' ', "_");
    let is_there =
        |zone: &&str| zone.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&place));
    let there: Vec<&str> = Zone::names().filter(is_there).take(NEAR_ZONES).collect();
    if there.is_empty() { near(&place, Zone::names(), NEAR_ZONES) } else { there }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_near_an_unknown_one_are_told() {
        assert_eq!(near_zones("berlin"), ["Europe/Berlin"]);
        assert_eq!(near_zones("New York"), ["America/New_York"]);
        assert_eq!(near_zones("Europe/Berln")[0], "Europe/Berlin");
        assert_eq!(near_zones("the moon"), Vec::<&str>::new());
    }
}
