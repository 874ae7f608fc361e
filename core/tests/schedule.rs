//! What runs in turns: when it goes on the list of what is to run.

use nervebus_core::schedule::Schedule;

#[test]
fn it_goes_on_the_list_once_however_often_it_is_asked_for() {
    let schedule = Schedule::new();
    assert!(schedule.wake());
    assert!(!schedule.wake());
    schedule.begin();
    assert!(!schedule.rest(), "all that was asked for before the turn began is done by it");
    assert!(schedule.wake());
}

#[test]
fn a_wish_during_a_turn_leads_to_another_one_when_that_has_ended() {
    let schedule = Schedule::new();
    schedule.wake();
    schedule.begin();
    assert!(!schedule.wake(), "not while it runs");
    assert!(!schedule.wake());
    assert!(schedule.rest());
    assert!(!schedule.wake(), "it is on the list already");
    schedule.begin();
    assert!(!schedule.rest());
}

#[test]
fn a_turn_that_wants_another_is_on_the_list_and_need_not_be_asked_for() {
    let schedule = Schedule::new();
    schedule.wake();
    schedule.begin();
    schedule.rest_a_moment();
    assert!(!schedule.wake());
    schedule.begin();
    assert!(!schedule.rest());
}

#[test]
fn after_the_last_turn_nobody_gets_one() {
    let schedule = Schedule::new();
    schedule.wake();
    schedule.begin();
    schedule.wake();
    schedule.end();
    assert!(!schedule.wake());
    assert_eq!(format!("{schedule:?}"), "Schedule { wanted: true, running: false, ended: true }");
}
