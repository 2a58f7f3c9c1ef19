//! What is typed: lines of a terminal with an editor, or of a pipe or file.
//!
//! A read of either cannot be cancelled, so it has a thread of its own that no runtime waits for; it ends
//! with the input or with the process.

use std::io::{self, BufRead, Write};

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

/// Lines that may wait while a command runs.
const WAITING_LINES: usize = 64;

/// One line, or why there is none.
#[derive(Debug)]
pub(super) enum Input {
    Line(String),
    /// Bytes that are no UTF-8; the number of the line.
    NotUtf8(u64),
    Failed(io::Error),
}

/// The lines of a reader.
pub(super) fn lines(input: impl BufRead + Send + 'static) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    std::thread::spawn(move || {
        let mut number = 0;
        let mut input = input;
        loop {
            let mut bytes = Vec::new();
            number += 1;
            let line = match input.read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(_) => line(bytes, number),
                Err(error) => Input::Failed(error),
            };
            let failed = matches!(line, Input::Failed(_));
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn line(bytes: Vec<u8>, number: u64) -> Input {
    match String::from_utf8(bytes) {
        Ok(text) => Input::Line(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(_) => Input::NotUtf8(number),
    }
}

/// A terminal whose typed line stays whole while others write.
pub(super) struct Editor {
    pub(super) lines: mpsc::Receiver<Input>,
    prompts: std::sync::mpsc::Sender<String>,
}

impl Editor {
    /// An editor, and where everything else is printed.
    pub(super) fn start() -> anyhow::Result<(Self, Screen)> {
        let mut editor = DefaultEditor::new()?;
        let screen = Screen::over(editor.create_external_printer()?);
        let (sender, lines) = mpsc::channel(1);
        let (prompts, wanted) = std::sync::mpsc::channel::<String>();
        std::thread::spawn(move || {
            let mut number = 0;
            while let Ok(prompt) = wanted.recv() {
                number += 1;
                let line = match editor.readline(&prompt) {
                    Ok(line) => {
                        // A history that cannot grow is no reason to stop.
                        drop(editor.add_history_entry(line.as_str()));
                        Input::Line(line)
                    }
                    Err(ReadlineError::Interrupted) => Input::Line(String::new()),
                    Err(ReadlineError::Eof) => return,
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        Input::NotUtf8(number)
                    }
                    Err(error) => Input::Failed(io::Error::other(error)),
                };
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok((Self { lines, prompts }, screen))
    }

    /// Asks for the next line.
    pub(super) fn prompt(&self, prompt: String) {
        // The thread has ended with the input, which its channel says too.
        drop(self.prompts.send(prompt));
    }
}

/// Prints whole lines above the one that is being typed.
pub(super) struct Screen {
    print: Box<dyn FnMut(String) -> io::Result<()> + Send>,
    line: Vec<u8>,
}

impl Screen {
    fn over(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        Self {
            print: Box::new(move |text| printer.print(text).map_err(io::Error::other)),
            line: Vec::new(),
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let whole = std::mem::replace(&mut self.line, rest);
            (self.print)(String::from_utf8_lossy(&whole).into_owned())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_line_that_is_not_utf_8_is_told_and_those_after_it_are_read() {
        let mut lines = lines(io::Cursor::new(
            b"one\r\n\xc4\xe3\xba\xc3\n  two\nlast".to_vec(),
        ));
        let mut seen = Vec::new();
        while let Some(input) = lines.recv().await {
            seen.push(format!("{input:?}"));
        }
        assert_eq!(
            seen,
            [
                "Line(\"one\")",
                "NotUtf8(2)",
                "Line(\"  two\")",
                "Line(\"last\")"
            ]
        );
    }

    #[test]
    fn only_whole_lines_are_printed_over_what_is_being_typed() {
        struct Paper(Arc<Mutex<Vec<String>>>);
        impl ExternalPrinter for Paper {
            fn print(&mut self, text: String) -> rustyline::Result<()> {
                self.0.lock().unwrap().push(text);
                Ok(())
            }
        }
        let printed = Arc::default();
        let mut screen = Screen::over(Paper(Arc::clone(&printed)));
        write!(screen, "one ").unwrap();
        assert!(printed.lock().unwrap().is_empty());
        write!(screen, "line\ntwo\nthr").unwrap();
        writeln!(screen, "ee").unwrap();
        assert_eq!(*printed.lock().unwrap(), ["one line\ntwo\n", "three\n"]);
    }
}
