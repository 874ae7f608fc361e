//! Seconds since 1970 as a date, and spans of time, for people; and moments as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nervebus::{Record, json};

/// The first second of the year 10000, behind which RFC 3339 has no dates.
const YEAR_10000: f64 = 253_402_300_800.0;

/// `2024-02-29T12:00:00.250Z` for seconds since 1970; the bare number where there is no such date.
pub(crate) fn date(seconds: f64) -> String {
    if !(0.0..YEAR_10000 - 0.001).contains(&seconds) {
        return format!("{seconds} s since 1970");
    }
    // In range, so neither the sign nor the size can be lost.
    let millis = (seconds * 1_000.0).round() as u64;
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of the given day since 1970-01-01, in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // 400 years are always 146097 days, so the loop below runs at most 400 times.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// `1 d 2 h 3 min`, the two or three largest units of a span.
pub(crate) fn span(seconds: f64) -> String {
    let Ok(span) = Duration::try_from_secs_f64(seconds) else {
        return format!("{seconds} s");
    };
    let whole = span.as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{:.3} s", span.as_secs_f64()),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, ..) => format!("{hours} h {minutes} min {} s", whole % 60),
        _ => format!("{days} d {hours} h {minutes} min"),
    }
}

/// What a moment may be written as.
const FORMS: &str = "a moment is a date (2026-01-31), a date and time (2026-01-31T23:59:59Z), seconds since 1970, or how \
                     long ago: 90s, 15m, 2h, 1d, 1w";

/// Reads a moment.
pub(crate) fn moment(text: &str) -> Result<SystemTime, String> {
    #[expect(clippy::disallowed_methods, reason = "a command knows no other clock than the machine's")]
    let now = SystemTime::now();
    let refused = || format!("'{text}': {FORMS}");
    let found = ago(text).and_then(|ago| now.checked_sub(ago));
    found.or_else(|| since_1970(seconds(text)?)).ok_or_else(refused)
}

/// `15m` as a span.
fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(each)?))
}

/// A date, or a date and time, or a number.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return Some(number);
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    // The library reads dates where events have them.
    let event = json!({"type": "a.date", "time": whole}).to_string();
    Record::from_jsonl(event.as_bytes()).ok()?.timestamp
}

pub(crate) fn since_1970(seconds: f64) -> Option<SystemTime> {
    let span = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    if seconds < 0.0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_written_in_four_ways() {
        let at = |seconds: f64| since_1970(seconds).expect("a moment");
        assert_eq!(moment("1709208000.25"), Ok(at(1_709_208_000.25)));
        assert_eq!(moment("-1"), Ok(at(-1.0)));
        assert_eq!(moment("2024-02-29T13:00:00+01:00"), Ok(at(1_709_208_000.0)));
        assert_eq!(moment("2024-02-29"), Ok(at(1_709_164_800.0)));
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7_200), ("1d", 86_400), ("1w", 604_800)] {
            let ago = moment(text).expect("a span").elapsed().expect("it has passed").as_secs();
            assert!((seconds..seconds + 60).contains(&ago), "{text}: {ago}");
        }
        for wrong in ["", "yesterday", "15 m", "1y", "2024-02-30", "NaN", "1e300", "99999999999999999999d", "é"] {
            assert!(moment(wrong).is_err_and(|error| error.contains("15m, 2h, 1d")), "{wrong}");
        }
    }

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(date(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_399.999_6), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_709_208_000.25), "2024-02-29T12:00:00.250Z");
        assert_eq!(date(4_107_542_399.0), "2100-02-28T23:59:59.000Z");
        assert_eq!(date(4_107_542_400.0), "2100-03-01T00:00:00.000Z");
        assert_eq!(date(253_402_300_799.0), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn what_has_no_date_stays_a_number() {
        assert_eq!(date(-1.0), "-1 s since 1970");
        assert_eq!(date(f64::INFINITY), "inf s since 1970");
        assert_eq!(date(253_402_300_800.0), "253402300800 s since 1970");
    }

    #[test]
    fn spans_show_their_largest_units() {
        assert_eq!(span(0.25), "0.250 s");
        assert_eq!(span(61.0), "1 min 1 s");
        assert_eq!(span(3_600.0), "1 h 0 min 0 s");
        assert_eq!(span(200_000.0), "2 d 7 h 33 min");
        assert_eq!(span(f64::MAX), format!("{} s", f64::MAX));
    }
}
