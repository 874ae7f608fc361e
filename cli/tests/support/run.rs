//! Runs the real command, on files in a folder of the test's own.
#![allow(dead_code, reason = "each test that runs the command needs some of this")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nervebus-cli-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The command, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nervebus"));
        command.current_dir(&self.0).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Its exit code, standard output and standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().expect("the command starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }

    /// Its standard output, if all was well.
    #[track_caller]
    pub(crate) fn clean(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}: {stdout}");
        stdout
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The line of an event with this number.
pub(crate) fn line(number: u64) -> String {
    format!(
        "{{\"event_type\":\"chat.sent\",\"payload\":{{\"n\":{number}}},\"timestamp\":{}.5,\"event_id\":\"e-{number}\",\
         \"source\":\"web\",\"correlation_id\":\"c-{}\",\"seq\":{number}}}\n",
        1_700_000_000 + number,
        number % 3
    )
}

pub(crate) fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(line).collect()
}

/// The numbers of the events in lines of JSON.
pub(crate) fn numbers(output: &str) -> Vec<u64> {
    let number = |line: &str| nervebus::Record::from_jsonl(line.as_bytes()).unwrap().payload["n"].as_u64().unwrap();
    output.lines().map(number).collect()
}

/// One JSON object that the command printed.
pub(crate) fn object(output: &str) -> nervebus::Value {
    // The library reads it as the payload of an event.
    let line = format!("{{\"event_type\": \"report.printed\", \"payload\": {}}}", output.trim_end());
    nervebus::Record::from_jsonl(line.as_bytes()).expect("one JSON object").payload
}
