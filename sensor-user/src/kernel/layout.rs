//! How the compiler laid out the programs: older kernels' verifiers are particular about loops.

use aya_obj::Object;

use super::object;

const CLASS: u8 = 0x07;
const JUMP: u8 = 0x05;
const JUMP_32: u8 = 0x06;
const OPERATION: u8 = 0xf0;
const ALWAYS: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;

/// Of an instruction, its code and how far it jumps.
type Step = (u8, i16);

/// Where an instruction goes on, in the order in which the verifier follows it; and whether it may do so by
/// going back.
fn successors(number: usize, (code, jump): Step) -> Vec<(usize, bool)> {
    let next = number + 1;
    let target = || next.wrapping_add_signed(jump.into());
    let is_jump = [JUMP, JUMP_32].contains(&(code & CLASS));
    match code & OPERATION {
        EXIT if is_jump => vec![],
        ALWAYS if is_jump => vec![(target(), true)],
        CALL if is_jump => vec![(next, false)],
        _ if is_jump => vec![(next, true), (target(), true)],
        _ => vec![(next, false)],
    }
}

/// The first instruction after which the function goes on with one that leads to it, without a jump. Linux 6.1
/// says "back-edge" to such a loop (`check_cfg` in kernel/bpf/verifier.c, which this follows), though a loop
/// that is closed by a jump is well.
fn falls_into_a_loop(instructions: &[Step]) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        OnTheWay,
        Done,
    }
    let mut states = vec![State::New; instructions.len()];
    let mut way = vec![(0, 0)];
    states[0] = State::OnTheWay;
    while let Some(&mut (number, ref mut followed)) = way.last_mut() {
        let successors = successors(number, instructions[number]);
        let Some(&(next, may_go_back)) = successors.get(*followed) else {
            states[number] = State::Done;
            way.pop();
            continue;
        };
        *followed += 1;
        match states[next] {
            State::New => {
                states[next] = State::OnTheWay;
                way.push((next, 0));
            }
            State::OnTheWay if !may_go_back => return Some(number),
            State::OnTheWay | State::Done => {}
        }
    }
    None
}

#[test]
fn no_program_falls_into_a_loop() {
    let object = Object::parse(object()).expect("an object");
    assert!(object.programs.len() > 20);
    let mut found = Vec::new();
    for function in object.functions.values() {
        let steps = function.instructions.iter();
        let steps: Vec<Step> = steps.map(|step| (step.code, step.off)).collect();
        if let Some(number) = falls_into_a_loop(&steps) {
            found.push(format!("{} after {number}", function.name));
        }
    }
    assert!(
        found.is_empty(),
        "Linux 6.1 refuses the loops of {found:?}, see `falls_into_a_loop`"
    );
}

#[test]
fn a_loop_may_be_closed_by_a_jump_alone() {
    const MOVE: Step = (0xb7, 0);
    const LEAVE: Step = (JUMP | EXIT, 0);
    let go_to = |jump| (JUMP | ALWAYS, jump);
    let go_to_if_equal = |jump| (JUMP | 0x10, jump);
    assert_eq!(falls_into_a_loop(&[MOVE, go_to_if_equal(-2), LEAVE]), None);
    assert_eq!(
        falls_into_a_loop(&[go_to_if_equal(2), MOVE, go_to(-3), LEAVE]),
        None
    );
    let entered_below_its_body = [go_to(1), MOVE, go_to_if_equal(-2), LEAVE];
    assert_eq!(falls_into_a_loop(&entered_below_its_body), Some(1));
}
