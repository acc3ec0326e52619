"""`cvc5 --lang smt` over standard input and output, on top of the Python package `cvc5`.

The package brings the solver's library and no program; `quoin policy prove` wants a program that
it can talk to, command by command. This is that and no more: it reads SMT-LIB commands, runs each
as soon as it is complete, and writes what the command answers. Arguments are `--lang smt`, which
changes nothing, and options of the solver, `--<name>=<value>`. What the library
writes to standard error is dropped.
"""

import os
import sys

import cvc5

# The longest command. One that is longer is a caller gone wrong, not a policy.
COMMAND_BYTES_MAX = 64 * 1024 * 1024


class Session:
    """A solver with its parser, as they are after the start or after `(reset)`."""

    def __init__(self, options):
        self.terms = cvc5.TermManager()
        self.solver = cvc5.Solver(self.terms)
        for name, value in options:
            self.solver.setOption(name, value)
        self.symbols = cvc5.SymbolManager(self.terms)
        self.parser = cvc5.InputParser(self.solver, self.symbols)

    def run(self, text):
        """Runs one command and returns its answer, which is empty for most."""
        self.parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "input")
        answers = []
        while True:
            command = self.parser.nextCommand()
            if command.isNull():
                return "".join(answers)
            answers.append(command.invoke(self.solver, self.symbols))


def options_of(arguments):
    """The solver's options among the arguments."""
    found = []
    for argument in arguments:
        if argument.startswith("--") and "=" in argument:
            name, value = argument[2:].split("=", 1)
            found.append((name, value))
        elif argument not in ("--lang", "smt"):
            raise SystemExit(f"unknown argument `{argument}`")
    return found


def commands(stream):
    """Cuts what arrives into complete commands: balanced outside strings, symbols and comments."""
    text, depth, inside = [], 0, ""
    size = 0
    while True:
        chunk = os.read(stream, 65536)
        if not chunk:
            return
        size += len(chunk)
        if size > COMMAND_BYTES_MAX:
            raise SystemExit("a command is too long")
        # What the caller writes is ASCII by the standard; other bytes can only be an error later.
        for char in chunk.decode("latin-1"):
            if inside == ";":
                if char == "\n":
                    inside = ""
                continue
            if inside:
                text.append(char)
                if char == inside:
                    inside = ""
                continue
            if char == ";":
                inside = ";"
                continue
            if depth == 0 and char.isspace():
                continue
            text.append(char)
            if char in '"|':
                inside = char
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
                if depth <= 0:
                    yield "".join(text)
                    text, depth = [], 0
                    size = 0


def answer(session, text):
    """The answer to a command, as the program would give it."""
    try:
        return session.run(text)
    except Exception as error:  # Every failure of the library is an answer to the caller.
        said = " ".join(str(error).split()).replace('"', '""')
        return f'(error "{said}")\n'


def main():
    if sys.argv[1:] == ["--version"]:
        print(cvc5.__version__)
        return
    options = options_of(sys.argv[1:])
    # The library's warnings go to standard error; a full pipe there would stop it for ever.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    session = Session(options)
    for text in commands(sys.stdin.fileno()):
        if text == "(reset)":
            session = Session(options)
            continue
        if text == "(exit)":
            return
        sys.stdout.write(answer(session, text))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
