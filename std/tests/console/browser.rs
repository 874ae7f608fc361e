//! A headless browser, driven over two pipes with the DevTools protocol: JSON that ends in a NUL.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::folder::Folder;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);

/// The names that Chromium goes by.
const NAMES: [&str; 2] = ["chromium", "chromium-browser"];

/// One after the other: each is a handful of processes.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What the page has complained of: scripts that threw, requests that failed or that its policy forbids.
    complaints: Vec<String>,
    folder: Folder,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts one with an empty page; `None` where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let is_there = |name: &&&str| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let name = NAMES.iter().find(is_there)?;
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Folder::of("browser");
        let (commands, answers) = (folder.path().join("commands"), folder.path().join("answers"));
        assert!(Command::new("mkfifo").args([&commands, &answers]).status().unwrap().success());
        // The protocol is spoken over the descriptors 3 and 4. The sandbox does not run as root, as containers have it.
        let script = format!(
            "exec {name} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --user-data-dir=profile --remote-debugging-pipe about:blank \
             3<commands 4>answers"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        // Each waits for the other end, in the order in which the shell opens them.
        let to = File::options().write(true).open(commands).unwrap();
        let from = read(File::open(answers).unwrap());
        let mut browser =
            Self { child, to, from, number: 0, session: None, complaints: Vec::new(), folder, _turn: turn };
        browser.open_page();
        Some(browser)
    }

    fn open_page(&mut self) {
        let targets = self.call("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array().unwrap().iter();
        let id = pages.into_iter().find(|target| target["type"] == "page").unwrap()["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({"targetId": id, "flatten": true}));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Calls a method of the protocol.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut request = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.from.recv_timeout(GUARD).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
            if message["id"] == self.number {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(params["entry"].to_string()),
            _ => {}
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Takes what the page has complained of so far.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What it complained of before is told before this is answered.
        self.run("0");
        std::mem::take(&mut self.complaints)
    }

    /// What a script comes to; promises are awaited.
    #[track_caller]
    pub(crate) fn run(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits in the page until an expression is true, looking whenever the page has changed and now and then.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let script = format!(
            "new Promise(done => {{
                const look = () => {{
                    if (!({expression})) return;
                    watcher.disconnect(); clearInterval(timer); clearTimeout(end); done(true);
                }};
                const watcher = new MutationObserver(look);
                const timer = setInterval(look, 100);
                const end = setTimeout(() => {{ watcher.disconnect(); clearInterval(timer); done(false); }}, 30000);
                watcher.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
                look();
            }})"
        );
        if self.run(&script) != json!(true) {
            let page = self.run("document.body.innerText");
            panic!("never: {expression}\n{}\n{:?}", page.as_str().unwrap_or_default(), self.complaints());
        }
    }

    /// Opens an address, and waits until it is loaded.
    pub(crate) fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address}));
        self.until(&format!("location.href === {address:?} && document.readyState === 'complete'"));
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the system of whoever looks at the page wishes for: `light` or `dark`.
    pub(crate) fn wish(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Presses a key, as a keyboard does.
    pub(crate) fn press(&mut self, key: &str, code: u32, text: &str) {
        let down = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", down);
        let up = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", up);
    }

    /// Types into a field in place of what it has.
    #[track_caller]
    pub(crate) fn type_into(&mut self, id: &str, text: &str) {
        self.run(&format!("document.getElementById('{id}').focus(), document.getElementById('{id}').select()"));
        self.call("Input.insertText", json!({"text": text}));
    }

    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.run(&format!("document.querySelector({selector:?}).click()"));
    }
}

/// Reads messages on a thread of its own, so that one that does not come can be given up.
fn read(answers: File) -> Receiver<Value> {
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = BufReader::new(answers);
        loop {
            let mut bytes = Vec::new();
            match answers.read_until(0, &mut bytes) {
                Ok(1..) => {}
                Ok(0) => return Ok(()),
                Err(error) => return Err::<(), io::Error>(error),
            }
            bytes.pop();
            let message = serde_json::from_slice(&bytes).unwrap();
            if sender.send(message).is_err() {
                return Ok(());
            }
        }
    });
    messages
}
