//! rtnetlink(7): one message to the kernel, and its answer.
#![expect(unsafe_code, reason = "a system call")]

use std::{
    io,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
};

/// Octets of a message's header (`nlmsghdr`).
pub const HEADER_OCTETS: usize = 16;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, so that there is an answer in any case, and `NLM_F_ECHO`, without which tc tells of a
/// qdisc those who listen to all changes and not who asks (linux/netlink.h).
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ECHO: u16 = 8;
/// `NLM_F_DUMP`.
const LIST: u16 = 0x300;
/// `NLMSG_ERROR`, which also says that there was none.
const ERROR: u16 = 2;
/// `NLMSG_DONE`, the end of a list.
const DONE: u16 = 3;

/// Asks; the answer with its header, be it an error.
///
/// # Errors
/// What the operating system says.
pub fn ask(kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    exchange(&message(kind, REQUEST | ACKNOWLEDGE | ECHO, body))
}

/// Whether a list has nothing in it.
///
/// # Errors
/// What the operating system says.
pub fn lists_nothing(kind: u16, body: &[u8]) -> io::Result<bool> {
    let answer = exchange(&message(kind, REQUEST | LIST, body))?;
    Ok(split(&answer).is_some_and(|(kind, _)| kind == DONE))
}

/// Has something done.
///
/// # Errors
/// What the kernel answers, too.
pub fn order(kind: u16, body: &[u8]) -> io::Result<()> {
    let answer = exchange(&message(kind, REQUEST | ACKNOWLEDGE, body))?;
    outcome(&answer).ok_or_else(|| io::Error::other("the kernel's answer is none"))?
}

/// A message of so many octets, a multiple of four.
#[must_use]
pub fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let octets = u32::try_from(HEADER_OCTETS + body.len()).unwrap_or(u32::MAX);
    let mut message = octets.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // The request's number, and it is for the kernel.
    message.extend([1u32, 0].iter().flat_map(|word| word.to_ne_bytes()));
    message.extend(body);
    message
}

/// The kind of an answer, and what it says.
#[must_use]
pub fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let (header, body) = answer.split_at_checked(HEADER_OCTETS)?;
    Some((u16::from_ne_bytes([header[4], header[5]]), body))
}

/// The value of the first attribute of a kind (`nlattr`: length with this header, kind, value; the
/// next one begins on four octets).
#[must_use]
pub fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    const KIND: u16 = 0x3fff;
    while let [l0, l1, k0, k1, ..] = *octets {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = octets.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & KIND == wanted {
            return Some(value);
        }
        octets = octets.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// What an acknowledgement says.
fn outcome(answer: &[u8]) -> Option<io::Result<()>> {
    let (kind, body) = split(answer)?;
    let number = i32::from_ne_bytes(*body.first_chunk()?);
    (kind == ERROR).then(|| match number {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
    })
}

fn exchange(message: &[u8]) -> io::Result<Vec<u8>> {
    const ANSWER_OCTETS: usize = 8192;
    // SAFETY: the call takes no pointers.
    let socket = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor of our own.
    let socket = UnixDatagram::from(unsafe { OwnedFd::from_raw_fd(socket) });
    let mut answer = vec![0; ANSWER_OCTETS];
    socket.send(message)?;
    let octets = socket.recv(&mut answer)?;
    answer.truncate(octets);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_says_what_came_of_an_order() {
        let answer = |number: i32| message(ERROR, 0, &number.to_ne_bytes());
        assert!(outcome(&answer(0)).unwrap().is_ok());
        let refused = outcome(&answer(-libc::EPERM)).unwrap().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(outcome(&answer(i32::MIN)).unwrap().is_err());
        for octets in 0..HEADER_OCTETS + 4 {
            assert!(outcome(&answer(0)[..octets]).is_none(), "{octets}");
        }
        assert!(outcome(&message(libc::RTM_NEWLINK, 0, &[0; 4])).is_none());
    }

    #[test]
    fn the_kernel_refuses_an_order_about_an_interface_that_is_not_there() {
        let body: Vec<u8> = [0u32, u32::MAX >> 1, 0, 0x100]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        order(libc::RTM_NEWLINK, &body).unwrap_err();
    }
}
