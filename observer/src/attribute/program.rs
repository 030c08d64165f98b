//! The executable and arguments of a process come in; the name that people call the program by, and its language, go out.

/// What a program is written in or run by, as far as its executable tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// CPython or PyPy.
    Python,
    /// Node.js, Deno, Bun.
    JavaScript,
    /// A Java virtual machine.
    Java,
    /// Ruby.
    Ruby,
    /// PHP, php-fpm.
    Php,
    /// .NET.
    Dotnet,
    /// Perl.
    Perl,
    /// A shell.
    Shell,
    /// Machine code: C, C++, Go, Rust and others are not told apart here.
    #[default]
    Native,
}

/// Options that take the next argument as their value, by language.
const PYTHON_VALUES: [&str; 3] = ["-W", "-X", "--check-hash-based-pycs"];
const NODE_VALUES: [&str; 7] = ["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--env-file"];
const JAVA_VALUES: [&str; 7] =
    ["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens"];
const RUBY_VALUES: [&str; 3] = ["-I", "-r", "-C"];
const PHP_VALUES: [&str; 2] = ["-c", "-d"];

/// Programs that run another one that their arguments name: `uvicorn shop.main:app`.
const APP_SERVERS: [&str; 5] = ["uvicorn", "gunicorn", "hypercorn", "daphne", "granian"];
/// Programs that run the Python program after them.
const WRAPPERS: [&str; 4] = ["opentelemetry-instrument", "ddtrace-run", "newrelic-admin", "sentry-run"];

/// The language that an executable's name tells.
pub fn language(executable: &str) -> Language {
    let name = base_name(executable);
    let stem = name.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    match stem {
        "python" | "pypy" => Language::Python,
        "node" | "nodejs" | "deno" | "bun" => Language::JavaScript,
        "java" => Language::Java,
        "ruby" => Language::Ruby,
        "php" | "php-fpm" | "php-cgi" => Language::Php,
        "dotnet" => Language::Dotnet,
        "perl" => Language::Perl,
        "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh" => Language::Shell,
        _ => Language::Native,
    }
}

/// What people call the program: of an interpreter the script, module or jar that it runs; else the executable.
///
/// `executable` is the target of `/proc/PID/exe`, or where that may not be read the command name.
pub fn program_name(executable: &str, arguments: &[&str]) -> String {
    let executable_name = base_name(executable);
    // Programs that rewrite their arguments tell it there: `gunicorn: worker [shop]`, `php-fpm: pool www`.
    let title = arguments.first().filter(|title| title.contains(": ")).and_then(|title| title.split_once('['));
    if let Some((application, _)) = title.and_then(|(_, tail)| tail.split_once(']')) {
        return module(application);
    }
    let arguments = arguments.get(1..).unwrap_or_default();
    let named = match language(executable) {
        Language::Python => python(arguments),
        Language::JavaScript => script(arguments, &NODE_VALUES, &["-e", "-p", "--eval", "--print"]),
        Language::Java => java(arguments),
        Language::Ruby => script(arguments, &RUBY_VALUES, &["-e"]),
        Language::Php => script(arguments, &PHP_VALUES, &["-r", "-S"]),
        Language::Dotnet => script(arguments, &[], &[]).map(|name| name.trim_end_matches(".dll").to_owned()),
        Language::Perl => script(arguments, &["-I"], &["-e", "-E"]),
        Language::Shell => script(arguments, &["-o", "-O"], &["-c"]),
        Language::Native => None,
    };
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| executable_name.to_owned())
}

/// The last part of a path, without the mark of a file that was replaced while it ran.
fn base_name(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// The first argument that is no option; none where an option brings the program text itself.
fn script(arguments: &[&str], with_value: &[&str], inline: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if inline.contains(argument) {
            return None;
        }
        if with_value.contains(argument) {
            rest.next();
        } else if !argument.starts_with('-') && *argument != "run" {
            return Some(base_name(argument).to_owned());
        }
    }
    None
}

fn python(arguments: &[&str]) -> Option<String> {
    let mut index = 0;
    while let Some(argument) = arguments.get(index) {
        let after = arguments.get(index + 1..).unwrap_or_default();
        if *argument == "-c" {
            return None;
        }
        if *argument == "-m" {
            let name = after.first()?;
            return Some(launched(name, after.get(1..).unwrap_or_default()).unwrap_or_else(|| (*name).to_owned()));
        }
        if PYTHON_VALUES.contains(argument) {
            index += 1;
        } else if !argument.starts_with('-') {
            let name = base_name(argument);
            return Some(launched(name, after).unwrap_or_else(|| name.to_owned()));
        }
        index += 1;
    }
    None
}

/// What a Python launcher runs: the application of `uvicorn`, of `celery -A`, of `flask --app`, the program of a wrapper.
fn launched(launcher: &str, arguments: &[&str]) -> Option<String> {
    if APP_SERVERS.contains(&launcher) {
        // The application looks like `package.module:object`; the value of an option such as `--bind host:port` does not.
        return arguments
            .iter()
            .find(|argument| {
                argument.split_once(':').is_some_and(|(path, object)| is_python_path(path) && is_python_path(object))
            })
            .or_else(|| arguments.last().filter(|last| is_python_path(last) && last.contains('.')))
            .map(|application| module(application));
    }
    if WRAPPERS.contains(&launcher) {
        let start = arguments.iter().position(|argument| !argument.starts_with('-') && *argument != "run-program")?;
        let inner = arguments.get(start..)?;
        let name = base_name(inner.first()?);
        return if language(name) == Language::Python {
            python(inner.get(1..)?)
        } else {
            launched(name, inner.get(1..)?).or_else(|| Some(name.to_owned()))
        };
    }
    if matches!(launcher, "flask" | "celery" | "dramatiq") {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if matches!(*argument, "-A" | "--app") {
                return rest.next().map(|application| module(application));
            }
            if let Some(application) = argument.strip_prefix("--app=") {
                return Some(module(application));
            }
        }
    }
    None
}

fn is_python_path(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'(' | b')'))
}

/// `shop.wsgi:application` is called `shop`, `main:app` is called `main`.
fn module(application: &str) -> String {
    let module = application.split(':').next().unwrap_or(application);
    let module = base_name(module);
    let bare = module.strip_suffix(".wsgi").or_else(|| module.strip_suffix(".asgi")).unwrap_or(module);
    bare.to_owned()
}

fn java(arguments: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "-jar" => return rest.next().map(|jar| base_name(jar).trim_end_matches(".jar").to_owned()),
            "-m" | "--module" => return rest.next().map(|name| class_name(name)),
            option if JAVA_VALUES.contains(&option) => {
                rest.next();
            }
            option if option.starts_with('-') || option.starts_with('@') => {}
            class => return Some(class_name(class)),
        }
    }
    None
}

fn class_name(path: &str) -> String {
    path.rsplit(['.', '/']).next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_what_people_call_it() {
        let cases = [
            ("/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx", "nginx"),
            ("/usr/bin/ledgerd (deleted)", "ledgerd|--port|80", "ledgerd"),
            ("/usr/bin/python3.11", "python3|/srv/shop/app.py|--port|80", "app.py"),
            ("/usr/bin/python3.11", "python3|-u|-W|ignore|app.py", "app.py"),
            ("/usr/bin/python3.11", "python3|-m|http.server|8000", "http.server"),
            ("/usr/bin/python3.11", "python3|-c|print()", "python3.11"),
            ("/usr/bin/python3.11", "python3|-", "python3.11"),
            (
                "/usr/bin/python3.11",
                "/usr/bin/python3|/usr/local/bin/uvicorn|--host|0.0.0.0|shop.main:app",
                "shop.main",
            ),
            ("/usr/bin/python3.11", "python3|-m|uvicorn|main:app|--port|80", "main"),
            ("/usr/bin/python3.11", "python3|/usr/bin/gunicorn|--bind|127.0.0.1:80|shop.wsgi:application", "shop"),
            ("/usr/bin/python3.11", "python3|/usr/bin/gunicorn|-b|:80|shop.wsgi", "shop"),
            ("/usr/bin/python3.11", "gunicorn: worker [shop]", "shop"),
            ("/usr/bin/python3.11", "python3|/usr/bin/flask|--app|checkout|run", "checkout"),
            ("/usr/bin/python3.11", "python3|/usr/bin/celery|-A|tasks|worker", "tasks"),
            ("/usr/bin/python3.11", "python3|/opt/bin/opentelemetry-instrument|python|pay.py", "pay.py"),
            ("/usr/bin/python3.11", "python3|/opt/bin/opentelemetry-instrument|uvicorn|pay:app", "pay"),
            ("/usr/bin/python3.11", "python3|manage.py|runserver", "manage.py"),
            ("/usr/bin/node", "node|--require|./tracing.js|server.js", "server.js"),
            ("/usr/bin/node", "node|--import=./tracing.mjs|/srv/cart.mjs", "cart.mjs"),
            ("/usr/bin/node", "node|-e|0", "node"),
            ("/usr/bin/bun", "bun|run|cart.ts", "cart.ts"),
            ("/usr/lib/jvm/bin/java", "java|-Xmx1g|-cp|/a:/b|com.example.Orders|x", "Orders"),
            ("/usr/lib/jvm/bin/java", "java|-javaagent:otel.jar|-jar|/srv/orders.jar", "orders"),
            ("/usr/lib/jvm/bin/java", "java|-m|shop/com.example.Main", "Main"),
            ("/usr/bin/ruby3.1", "ruby|-I|lib|/srv/web.rb", "web.rb"),
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm8.2"),
            ("/usr/bin/dotnet", "dotnet|/srv/Orders.dll", "Orders"),
            ("/usr/bin/dash", "sh|-e|/srv/run.sh", "run.sh"),
            ("/usr/bin/bash", "bash", "bash"),
            ("kworker/0:1", "", "0:1"),
        ];
        for (executable, arguments, expected) in cases {
            let arguments: Vec<&str> = arguments.split('|').collect();
            assert_eq!(program_name(executable, &arguments), expected, "{executable} {arguments:?}");
        }
    }

    #[test]
    fn the_language_is_that_of_the_interpreter() {
        assert_eq!(language("/usr/bin/python3.11"), Language::Python);
        assert_eq!(language("/opt/node-20/bin/node"), Language::JavaScript);
        assert_eq!(language("/usr/sbin/php-fpm8.2"), Language::Php);
        assert_eq!(language("/usr/sbin/nginx"), Language::Native);
    }
}
