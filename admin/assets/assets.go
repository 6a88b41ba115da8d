package assets

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed app.css app.js icon.svg river.css river.js
var files embed.FS

// Prefix is the path under which the files are served.
const Prefix = "/assets/"

// file is one file and its type.
type file struct {
	name, contentType string
}

func all() []file {
	return []file{
		{"app.css", "text/css; charset=utf-8"},
		{"app.js", "text/javascript; charset=utf-8"},
		{"icon.svg", "image/svg+xml"},
		{"river.css", "text/css; charset=utf-8"},
		{"river.js", "text/javascript; charset=utf-8"},
	}
}

// Path returns the path of a file, such as app.css. It contains a hash of the
// content. It panics for a name that is none of a file.
func Path(name string) string {
	sum := sha256.Sum256(content(name))
	return Prefix + hex.EncodeToString(sum[:6]) + "/" + name
}

func content(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("no file %s among the assets", name))
	}
	return content
}

// Register adds a route for each file.
func Register(g *echo.Group) {
	for _, f := range all() {
		body := content(f.name)
		answer := func(c echo.Context) error {
			c.Response().Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			return c.Blob(http.StatusOK, f.contentType, body)
		}
		g.GET(Path(f.name), answer)
		g.HEAD(Path(f.name), answer)
	}
}
