package runtimes

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// javaVersion matches "openjdk 17.0.15 2025-04-15" and "java 21 2023-09-19 LTS".
var javaVersion = regexp.MustCompile(`^(?:openjdk|java) ([0-9]+)[^\n]*`)

// serialization is AWS's library that reads events and writes answers on Lambda. It is downloaded when
// `she` is built.
const serialization = "java/lib/aws-lambda-java-serialization.jar"

// java finds a JVM, the version asked for if it is installed. It also returns the class files of the
// bootstrap, which are compiled at the first call: class files can't be kept in the source, and every JDK
// can make them.
func (f Finder) java(asked string) (Runtime, error) {
	var crowded error
	for _, candidate := range []string{
		fmt.Sprintf("/usr/lib/jvm/java-%s-openjdk-%s/bin/java", asked, runtime.GOARCH),
		fmt.Sprintf("/usr/lib/jvm/temurin-%s-jdk-%s/bin/java", asked, runtime.GOARCH),
		"java",
	} {
		program, err := f.Look(candidate)
		if err != nil {
			continue
		}
		out, err := f.Run(program, "--version")
		if err != nil {
			continue
		}
		m := javaVersion.FindStringSubmatch(out)
		if m == nil {
			continue
		}
		if major, _ := strconv.Atoi(m[1]); major < 11 {
			continue
		}
		if program, err = resolve(program); err != nil {
			continue
		}
		home := filepath.Dir(filepath.Dir(program))
		paths, err := f.jvm(home)
		if err != nil {
			crowded = err
			continue
		}
		classes, err := f.classes(home)
		if err != nil {
			return Runtime{}, err
		}
		links, err := f.linked(program, "java")
		if err != nil {
			return Runtime{}, err
		}
		return Runtime{
			Name: "java" + m[1],
			// The shell computes the size of the heap and the class path, and then executes the JVM.
			Command: []string{f.sh(), Dir + "/java/start", program},
			Paths:   append(append(paths, links...), [2]string{classes, Lang + "/java"}),
			Env:     []string{"JAVA_HOME=" + home},
			Version: stamp(m[0], program) + " " + filepath.Base(classes),
			Copies:  true,
			Entries: true,
			Tries:   Always,
		}, nil
	}
	if crowded != nil {
		return Runtime{}, crowded
	}
	return Runtime{}, fmt.Errorf("%w: Java 11 or newer (apt-get install default-jdk-headless)", ErrMissing)
}

// jvm returns an installation, with the configuration that distributions keep in /etc and link to.
func (f Finder) jvm(home string) ([][2]string, error) {
	paths, err := f.with(home)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{"lib/jvm.cfg", "conf/security/java.security", "conf/net.properties"} {
		real, err := filepath.EvalSymlinks(filepath.Join(home, file))
		if dir := filepath.Dir(real); err == nil && strings.HasPrefix(dir, "/etc/") && !shown(paths, dir) {
			paths = append(paths, [2]string{dir, dir})
		}
	}
	return paths, nil
}

// classes compiles the bootstrap for Java 11 and later. For a JVM without a compiler, another JVM's
// compiler is used.
func (f Finder) classes(home string) (string, error) {
	javac, err := f.Look(filepath.Join(home, "bin", "javac"))
	if err != nil {
		if javac, err = f.Look("javac"); err != nil {
			return "", fmt.Errorf("%w: Java is here, its compiler is not (apt-get install default-jdk-headless)", ErrMissing)
		}
	}
	if _, err := bootstraps.Open(serialization); err != nil {
		return "", fmt.Errorf("%w: this program was built without AWS's serialisation for Java (make build fetches it)", ErrMissing)
	}
	// Plain string concatenation needs no code generated at run time, so it starts sooner and works without
	// free memory.
	return f.compiled("java", ".java", stamp("javac", javac), func(src string, names []string, out string) error {
		_, err := f.Run(javac, append([]string{"-J-XX:TieredStopAtLevel=1", "--release", "11", "-encoding", "UTF-8", "-proc:none", "-XDstringConcat=inline", "-nowarn",
			"-cp", filepath.Join(src, "lib", path.Base(serialization)), "-d", out}, names...)...)
		return err
	})
}
