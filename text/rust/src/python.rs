//! Where Python's jinja2, as transformers sets it up, and minijinja differ.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use crate::json::tojson;
use crate::user_text::MARKER;

/// How deep a value may be nested: a namespace may contain itself.
pub const DEPTH_MAX: usize = 128;
const STRFTIME_BYTES_MAX: usize = 256;

pub fn install(env: &mut Environment) {
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(format);
    env.add_filter("tojson", tojson);
    env.add_filter("string", string);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    env.add_function("strftime_now", strftime_now);
}

pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub fn as_float(value: &Value) -> Option<f64> {
    (value.is_number() && !value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten()
}

fn format(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    out.write_str(&str_of(value)?)?;
    Ok(())
}

fn string(value: &Value) -> Result<Value, Error> {
    Ok(if value.as_str().is_some() { value.clone() } else { Value::from(str_of(value)?) })
}

/// str(value)
fn str_of(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None => write_repr(value, 0, &mut out)?,
    }
    Ok(out)
}

/// repr(value)
fn write_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(invalid("a value is nested too deeply to be written"));
    }
    match value.kind() {
        ValueKind::String => write_string_repr(value.as_str().unwrap_or_default(), out),
        ValueKind::Number => out.push_str(&number(value, ["inf", "nan"])),
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            for (i, item) in value.try_iter()?.checked().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_repr(&item?, depth + 1, out)?;
            }
            out.push_str(if value.is_tuple() && value.len() == Some(1) { "," } else { "" });
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                out.push_str(if i == 0 { "" } else { ", " });
                write_repr(&key, depth + 1, out)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if c == quote => out.extend(['\\', c]),
            // A marker has to stay one, else the text that it guards would not be seen as a user's.
            _ if c == MARKER || is_printable(c) => out.push(c),
            '\0'..='\u{ff}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            '\u{100}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(quote);
}

fn is_printable(c: char) -> bool {
    // Behind another character, Rust's escape leaves all alone that can be printed, combining marks too.
    c == '"' || c == '\'' || ['a', c].iter().collect::<String>().escape_debug().count() == 2
}

fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| invalid(format!("object of type {} has no length", value.kind())))
}

/// repr() of a Python float, with its names for what is not a number.
pub fn float_repr(value: f64, [infinity, nan]: [&str; 2]) -> String {
    if value.is_nan() {
        return nan.to_string();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}{infinity}");
    }
    let scientific = format!("{:e}", value.abs()); // the shortest digits that read back as the same number
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{value:?}")
    } else {
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs())
    }
}

pub fn number(value: &Value, not_finite: [&str; 2]) -> String {
    as_float(value).map_or_else(|| value.to_string(), |float| float_repr(float, not_finite))
}

/// datetime.now().strftime(format)
fn strftime_now(format: &str) -> Result<String, Error> {
    let format = std::ffi::CString::new(format).map_err(|_| invalid("strftime_now: the format has a NUL in it"))?;
    let mut out = [0u8; STRFTIME_BYTES_MAX];
    // SAFETY: `now` is null by choice; `tm` is plain data that localtime_r fills; strftime writes at most out.len().
    let size = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut tm);
        libc::strftime(out.as_mut_ptr().cast(), out.len(), format.as_ptr(), &tm)
    };
    Ok(String::from_utf8_lossy(&out[..size]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let cases = [(1.0, "1.0"), (0.1, "0.1"), (-0.0, "-0.0"), (1e16, "1e+16"), (1e15, "1000000000000000.0")];
        let more = [(1e-5, "1e-05"), (0.0001, "0.0001"), (-1.5e300, "-1.5e+300"), (123456789.125, "123456789.125")];
        for (value, text) in cases.into_iter().chain(more) {
            assert_eq!(float_repr(value, ["inf", "nan"]), text);
        }
        assert_eq!(float_repr(f64::NEG_INFINITY, ["Infinity", "NaN"]), "-Infinity");
    }
}
