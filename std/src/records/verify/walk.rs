//! Going along the chain, line by line, and saying what kind of break it is where it breaks.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::records::audit::chain::{self, BEGINNING, Chain, Digits};
use crate::records::reader::ReadError;
use crate::records::verify::finding::{Fault, Finding};
use crate::records::verify::stream::{Line, Stream, Text};
use crate::records::verify::{Beginning, Verification};

/// The most findings that are described, and the most whose kind is looked for: that costs some hundred hashes each.
const MOST_DESCRIBED: usize = 100;
const MOST_SORTED: u64 = 1_000;

/// How many lines back an insertion or a move is recognised.
const BACK: usize = 256;

/// The records that the writer puts in itself.
const SEALED: &str = "system.audit_sealed";
const RECOVERED: &str = "system.audit_recovered";

/// Where a line stands.
#[derive(Debug, Clone)]
struct Place {
    path: Arc<Path>,
    number: u64,
    offset: u64,
}

/// A line that was passed.
#[derive(Debug, Clone)]
struct Passed {
    digits: Digits,
    place: Place,
}

/// What the next line has to fit to.
#[derive(Debug)]
enum Before {
    /// No line with a hash was met.
    Nothing,
    Digits(Digits),
    /// The hash of the line before cannot be read.
    Lost,
}

/// What the number of a line is read from.
#[derive(Deserialize)]
struct Numbered {
    seq: Option<u64>,
}

#[derive(Deserialize)]
struct Seal {
    payload: Counts,
}

#[derive(Deserialize)]
struct Counts {
    lines: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Recovery {
    payload: Piece,
}

#[derive(Deserialize)]
struct Piece {
    offset: u64,
    bytes: u64,
    fragment_hash: Option<String>,
}

/// How far the walk has come.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) found: Verification,
    before: Before,
    anchor: Option<Digits>,
    anchor_seen: bool,
    /// Whether there is but one file, so that nothing can have been rotated away.
    alone: bool,
    /// The lines passed last, the newest at the end, and the hashes of lines that were found in another place.
    recent: VecDeque<Passed>,
    moved: VecDeque<Digits>,
    /// The file, the lines of it so far, and how many of them are pieces of lines.
    file: u64,
    lines: u64,
    pieces: u64,
    /// What the last line was.
    was_seal: bool,
    was_piece: bool,
    last: Option<Line>,
    first_without: Option<Place>,
}

impl Walk {
    pub(crate) fn new(anchor: Option<Digits>, alone: bool) -> Self {
        let found = Verification {
            files: 0,
            lines: 0,
            bytes: 0,
            verified: 0,
            before_chain: 0,
            seals: 0,
            unsealed: 0,
            recovered: 0,
            unfinished: 0,
            rotated_from: None,
            beginning: Beginning::Unknown,
            last_hash: None,
            findings: Vec::new(),
            found: 0,
        };
        Self {
            found,
            before: Before::Nothing,
            anchor,
            anchor_seen: false,
            alone,
            recent: VecDeque::new(),
            moved: VecDeque::new(),
            file: 0,
            lines: 0,
            pieces: 0,
            was_seal: false,
            was_piece: false,
            last: None,
            first_without: None,
        }
    }

    /// Takes the next line.
    pub(crate) fn step(&mut self, line: Line, stream: &mut Stream) -> Result<(), ReadError> {
        self.enter(&line);
        let was_piece = std::mem::take(&mut self.was_piece);
        match (&line.text, &self.before) {
            (Text::TooLong, _) => self.lose(&line, Fault::TooLong),
            (Text::Unreadable(message), _) => self.lose(&line, Fault::Unreadable { message: message.clone() }),
            _ if Self::is_unfinished(&line) => self.found.unfinished = line.length,
            (_, Before::Nothing) => self.first(&line),
            (_, Before::Lost) => match line.claim() {
                Some(digits) => self.pass(&line, digits),
                None => self.lose(&line, Fault::NoHash),
            },
            (_, Before::Digits(before)) => match line.claim().filter(|_| line.follows(before)) {
                Some(digits) => self.fit(&line, digits, was_piece),
                None => {
                    let before = *before;
                    self.misfit(&line, &before, stream)?;
                }
            },
        }
        self.leave(line);
        Ok(())
    }

    /// What is left to say at the end.
    pub(crate) fn finish(mut self, expect_last: Option<Digits>) -> Verification {
        let is_cut = self.found.rotated_from.is_some() && self.found.lines > 0 && !self.was_seal;
        self.found.unsealed += u64::from(is_cut);
        let end = self.last.take().map(|line| place_of(&line));
        let last = match &self.before {
            Before::Digits(digits) => Some(*digits),
            Before::Nothing | Before::Lost => None,
        };
        self.found.last_hash = last.map(|digits| digits.iter().map(|digit| char::from(*digit)).collect());
        if let (Before::Nothing, Some(place)) = (&self.before, self.first_without.take()) {
            self.found.before_chain = 0;
            self.find(place, Fault::NoChain);
        }
        let nowhere = || Place { path: Path::new("").into(), number: 0, offset: 0 };
        if self.anchor.is_some() && !self.anchor_seen {
            self.find(end.clone().unwrap_or_else(nowhere), Fault::NoAnchor);
        }
        if expect_last.is_some_and(|expected| last != Some(expected)) {
            self.find(end.unwrap_or_else(nowhere), Fault::NotTheLast);
        }
        self.found
    }

    fn enter(&mut self, line: &Line) {
        if line.file != self.file {
            self.found.unsealed += u64::from(self.file > 0 && !self.was_seal);
            self.found.files += 1;
            (self.file, self.lines, self.pieces, self.was_seal) = (line.file, 0, 0, false);
        }
    }

    fn leave(&mut self, line: Line) {
        if matches!(line.text, Text::Unreadable(_)) {
            return;
        }
        self.lines += 1;
        self.found.lines += 1;
        self.found.bytes += line.length + u64::from(line.ended);
        self.was_seal = line.is_own(SEALED);
        self.last = Some(line);
    }

    /// Whether it is the beginning of a line that is being written, or was when the process was killed.
    fn is_unfinished(line: &Line) -> bool {
        if line.ended || !line.active {
            return false;
        }
        // A whole line with another byte in the place of the line feed is no beginning of any.
        let whole = line.bytes().split_last().is_some_and(|(_, rest)| chain::split(rest).is_some());
        line.claim().is_none() && !whole
    }

    fn first(&mut self, line: &Line) {
        let Some(digits) = line.claim() else {
            self.found.before_chain += 1;
            self.first_without.get_or_insert_with(|| place_of(line));
            return;
        };
        if line.follows(&BEGINNING) {
            self.found.beginning = Beginning::Whole;
            return self.fit(line, digits, false);
        }
        if self.anchor.is_some_and(|anchor| line.follows(&anchor)) {
            self.found.beginning = Beginning::Anchored;
            self.anchor_seen = true;
            return self.fit(line, digits, false);
        }
        match self.first_without.take() {
            Some(place) => self.find(place, Fault::NoHash),
            None if self.alone => self.find(place_of(line), Fault::NoBeginning),
            None => {}
        }
        self.pass(line, digits);
    }

    /// A line that fits to the one before it.
    fn fit(&mut self, line: &Line, digits: Digits, was_piece: bool) {
        self.found.verified += 1;
        if line.is_own(SEALED) {
            self.check_seal(line);
        }
        if line.is_own(RECOVERED) && !was_piece {
            self.find(place_of(line), Fault::WrongRecovery);
        }
        self.pass(line, digits);
    }

    /// Goes on behind a line, whether it fits or not.
    fn pass(&mut self, line: &Line, digits: Digits) {
        self.anchor_seen |= self.anchor == Some(digits);
        self.before = Before::Digits(digits);
        if self.recent.len() == BACK {
            self.recent.pop_front();
        }
        self.recent.push_back(Passed { digits, place: place_of(line) });
    }

    fn check_seal(&mut self, line: &Line) {
        let there = (self.lines, line.offset);
        let seal = serde_json::from_slice::<Seal>(line.bytes()).map(|seal| (seal.payload.lines, seal.payload.bytes));
        let sealed = seal.unwrap_or_default();
        // A piece of a line may count as a line or not.
        if sealed == there || sealed == (there.0 - self.pieces, there.1) {
            self.found.seals += 1;
        } else {
            self.find(place_of(line), Fault::WrongSeal { sealed, there });
        }
    }

    /// A line that does not fit to the one before it.
    fn misfit(&mut self, line: &Line, before: &Digits, stream: &mut Stream) -> Result<(), ReadError> {
        if self.found.found >= MOST_SORTED {
            self.cut(line, before, None);
            return Ok(());
        }
        let next = stream.ahead()?.front();
        if next.is_some_and(|next| next.is_own(RECOVERED) && next.follows(before) && describes(next, line)) {
            self.take_piece();
            return Ok(());
        }
        if let Some(digits) = line.claim() {
            if self.moved.iter().any(|moved| line.follows(moved)) {
                // It fits to a line that was found elsewhere already.
                self.pass(line, digits);
                return Ok(());
            }
            if self.recent.iter().any(|passed| passed.digits == digits) {
                self.find(place_of(line), Fault::Repeated);
                return Ok(());
            }
            if self.fits_further_back(line, digits) {
                return Ok(());
            }
        }
        let back = stream.ahead()?.iter().position(|later| later.follows(before));
        match back {
            Some(further) => self.pass_over(line, further, stream),
            None => {
                let next = stream.ahead()?.front().cloned();
                self.cut(line, before, next.as_ref());
                Ok(())
            }
        }
    }

    fn take_piece(&mut self) {
        self.found.recovered += 1;
        self.pieces += 1;
        self.was_piece = true;
    }

    /// Whether the line comes right after one that was passed earlier: then those between were put in.
    fn fits_further_back(&mut self, line: &Line, digits: Digits) -> bool {
        let Some(index) = self.recent.iter().rposition(|passed| line.follows(&passed.digits)) else { return false };
        let lines = (self.recent.len() - index - 1) as u64;
        let Some(first) = self.recent.get(index + 1).map(|passed| passed.place.clone()) else { return false };
        let explains = line.is_own(RECOVERED) && lines == 1;
        if explains && self.last.as_ref().is_some_and(|last| describes(line, last)) {
            // A whole line whose line feed was not written any more counts as a piece of one.
            self.take_piece();
            self.was_piece = false;
        } else {
            self.find(first, Fault::Inserted { lines });
        }
        self.found.verified += 1;
        self.pass(line, digits);
        true
    }

    /// The line that belongs here comes later: this one, and so many after it, do not belong here.
    fn pass_over(&mut self, line: &Line, further: usize, stream: &mut Stream) -> Result<(), ReadError> {
        let lines = further as u64 + 1;
        let ahead = stream.ahead()?;
        let comes_later = ahead.iter().filter_map(Line::claim).any(|digits| line.follows(&digits));
        let fault = if comes_later { Fault::Moved { lines } } else { Fault::Inserted { lines } };
        let claims = std::iter::once(line.claim()).chain(ahead.iter().take(further).map(Line::claim)).flatten();
        self.moved.extend(claims);
        while self.moved.len() > BACK {
            self.moved.pop_front();
        }
        self.find(place_of(line), fault);
        for _ in 0..further {
            let Some(passed) = stream.next()? else { break };
            self.enter(&passed);
            self.leave(passed);
        }
        Ok(())
    }

    /// Nothing that is near fits to the line before.
    fn cut(&mut self, line: &Line, before: &Digits, next: Option<&Line>) {
        let Some((hashed, digits)) = line.split() else { return self.lose(line, Fault::NoHash) };
        let right = Chain::after(*before).digits_of(hashed);
        if next.is_some_and(|next| next.follows(&right)) {
            self.find(place_of(line), Fault::HashEdited);
            return self.pass(line, right);
        }
        let fault = match (self.last.as_ref().and_then(number_of), number_of(line)) {
            (Some(last), Some(this)) if this > last + 1 => Fault::Removed { missing: Some(this - last - 1) },
            (Some(last), Some(this)) if this == last + 1 => Fault::Edited,
            _ if line.number == 1 => Fault::Removed { missing: None },
            _ => Fault::Edited,
        };
        self.find(place_of(line), fault);
        self.pass(line, *digits);
    }

    /// A line whose hash cannot be read: what comes next cannot be checked.
    fn lose(&mut self, line: &Line, fault: Fault) {
        self.find(place_of(line), fault);
        self.before = Before::Lost;
    }

    fn find(&mut self, place: Place, fault: Fault) {
        self.found.found += 1;
        if self.found.findings.len() < MOST_DESCRIBED {
            let Place { path, number: line, offset } = place;
            self.found.findings.push(Finding { path, line, offset, fault });
        }
    }
}

fn place_of(line: &Line) -> Place {
    Place { path: Arc::clone(&line.path), number: line.number, offset: line.offset }
}

/// The number of the event.
fn number_of(line: &Line) -> Option<u64> {
    serde_json::from_slice::<Numbered>(line.bytes()).ok()?.seq
}

/// Whether a record of a piece of a line is about this one.
fn describes(record: &Line, piece: &Line) -> bool {
    let Ok(Recovery { payload }) = serde_json::from_slice::<Recovery>(record.bytes()) else { return false };
    let hash = payload.fragment_hash;
    let same = |hash: String| hash.as_bytes() == &chain::digits(piece.bytes())[..];
    record.file == piece.file
        && (payload.offset, payload.bytes) == (piece.offset, piece.length)
        && hash.is_none_or(same)
}
