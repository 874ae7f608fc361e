//! Members of which the single event counts: percentiles in rounds, for the tail says more than the median.
//!
//! Each round of a member gives its own percentiles, and the table shows their medians over the rounds: a neighbour on
//! the machine that takes the core away for a moment spoils a round and not the table. The longest of all is shown too.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use crate::medians::Spread;
use crate::rounds::Rounds;

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The member's name in the output.
    pub name: &'static str,
    /// Handles that many events and returns the nanoseconds of each.
    pub run: fn(u64) -> Vec<u64>,
}

/// What one round has shown.
#[derive(Clone, Copy, Debug)]
struct Percentiles {
    p50: u64,
    p99: u64,
    p999: u64,
    longest: u64,
}

impl Percentiles {
    fn of(mut each: Vec<u64>) -> Option<Self> {
        each.sort_unstable();
        let longest = *each.last()?;
        let at = |per_mille: usize| each.get(each.len() * per_mille / 1_000).copied().unwrap_or(longest);
        Some(Self { p50: at(500), p99: at(990), p999: at(999), longest })
    }
}

/// A member over all rounds.
#[derive(Debug)]
struct Course {
    member: Member,
    rounds: Vec<Percentiles>,
}

impl Course {
    /// A percentile over the rounds.
    fn spread(&self, of: fn(&Percentiles) -> u64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| of(round) as f64).collect())
    }
}

/// The members of a group, as measured.
#[derive(Debug)]
pub struct Measured {
    courses: Vec<Course>,
}

impl Measured {
    /// Median nanoseconds.
    #[must_use]
    pub fn p50(&self, member: &str) -> Option<f64> {
        self.median(member, |round| round.p50)
    }

    /// Nanoseconds that 999 of 1,000 events stay below.
    #[must_use]
    pub fn p999(&self, member: &str) -> Option<f64> {
        self.median(member, |round| round.p999)
    }

    fn median(&self, member: &str, of: fn(&Percentiles) -> u64) -> Option<f64> {
        let course = self.courses.iter().find(|course| course.member.name == member)?;
        Some(course.spread(of)?.median)
    }

    /// Prints the table, the smallest median first.
    fn print(&mut self, group: &str) {
        self.courses.retain(|course| !course.rounds.is_empty());
        if self.courses.is_empty() {
            return;
        }
        let p50 = |course: &Course| course.spread(|round| round.p50).map_or(f64::NAN, |spread| spread.median);
        self.courses.sort_by(|a, b| p50(a).total_cmp(&p50(b)));
        println!("\n| {group}, ns | p50 (least to most) | p99 | p99.9 (least to most) | longest µs |");
        println!("|---|---|---|---|---|");
        for course in &self.courses {
            let spread = |of| course.spread(of).unwrap_or_default();
            let (p50, p99, p999) = (spread(|round| round.p50), spread(|round| round.p99), spread(|round| round.p999));
            let longest = course.rounds.iter().map(|round| round.longest).max().unwrap_or(0) as f64 / 1e3;
            println!("| {} | {p50:.0} | {:.0} | {p999:.0} | {longest:.0} |", course.member.name, p99.median);
        }
    }
}

impl Rounds {
    /// Runs the members of a group in turn and prints their percentiles.
    ///
    /// # Panics
    /// When a member lost an event.
    pub fn percentiles(&self, group: &str, members: &[Member]) -> Measured {
        let chosen = members.iter().filter(|member| self.has_chosen(group, member.name));
        let mut courses: Vec<_> = chosen.map(|&member| Course { member, rounds: Vec::new() }).collect();
        if self.is_test() {
            for Course { member, .. } in &courses {
                println!("Testing {group}/{}", member.name);
                (member.run)(Self::TEST_EVENTS.min(self.events()));
                println!("Success");
            }
            return Measured { courses: Vec::new() };
        }
        self.take_turns(&mut courses, |course, counts| {
            let each = (course.member.run)(self.events());
            course.rounds.extend(Percentiles::of(each).filter(|_| counts));
        });
        let mut measured = Measured { courses };
        measured.print(group);
        measured
    }
}
