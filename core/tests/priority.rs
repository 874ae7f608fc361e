//! Priorities: higher first, 100 when nobody says otherwise.

use nervebus_core::Priority;

#[test]
fn a_higher_number_is_a_higher_priority_and_the_default_is_100() {
    assert_eq!(Priority::default(), Priority::from(100));
    assert!(Priority::from(200) > Priority::DEFAULT && Priority::DEFAULT > Priority::from(-1));
    assert_eq!(i32::from(Priority::from(i32::MIN)), Priority::from(i32::MIN).get());
}
