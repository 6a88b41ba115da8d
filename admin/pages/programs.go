package pages

import (
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/catalog"
)

// programData is one program.
type programData struct {
	catalog.Program
	Running bool
}

// programs lists the programs that ran on this database within a day.
func (p *Pages) programs(c echo.Context) error {
	found, err := catalog.Programs(c.Request().Context(), p.cfg.Store.Pool(), 24*time.Hour)
	if err != nil {
		return err
	}
	data := make([]programData, len(found))
	for i, program := range found {
		data[i] = programData{program, p.cfg.Now().Sub(program.LastSeen) < catalog.SeenWithin}
	}
	return p.show(c, "programs", view{
		Title: "Programs", Section: "/programs", Data: data,
		Lead: "A program that stops removes its row. One that was not seen for a minute was killed, or has lost the database.",
	})
}
