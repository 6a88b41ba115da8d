package manual

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// composeSecrets returns the settings that a user must set.
func composeSecrets() types.Mapping {
	return types.Mapping{"POSTGRES_PASSWORD": "p%ss word", "SERVER_PASSWORD": "it's $another", "LUMIN_ACCOUNT_API_KEYS": "key", "VERSION": "v9"}
}

func loadCompose(t *testing.T, environment types.Mapping) (*types.Project, error) {
	t.Helper()
	return loadComposeOf(t, "", environment)
}

// loadComposeOf loads the compose file of a folder.
func loadComposeOf(t *testing.T, folder string, environment types.Mapping) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  filepath.Join(root, folder),
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: []byte(read(t, filepath.Join(folder, "docker-compose.yml")))}},
		Environment: environment,
	})
}

func mustLoadCompose(t *testing.T) *types.Project {
	t.Helper()
	project, err := loadCompose(t, composeSecrets())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// value returns a variable of a service, or "" if it is not set.
func value(s types.ServiceConfig, variable string) string {
	if v := s.Environment[variable]; v != nil {
		return *v
	}
	return ""
}

func TestComposeRefusesMissingSecrets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ missing, says string }{
		{"POSTGRES_PASSWORD", "set it in .env, to any password"},
		{"SERVER_PASSWORD", "set it in .env, to any password"},
		{"LUMIN_ACCOUNT_API_KEYS", "set it in .env to the Primary API key of the workspace"},
	} {
		t.Run(test.missing, func(t *testing.T) {
			t.Parallel()
			environment := composeSecrets()
			delete(environment, test.missing)
			_, err := loadCompose(t, environment)
			if err == nil || !strings.Contains(err.Error(), test.missing) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("loaded with %v, want an error that names %s and says %q", err, test.missing, test.says)
			}
		})
	}
	t.Run("an empty password", func(t *testing.T) {
		t.Parallel()
		environment := composeSecrets()
		environment["POSTGRES_PASSWORD"] = ""
		if _, err := loadCompose(t, environment); err == nil {
			t.Error("loaded")
		}
	})
	t.Run("only apps deliver", func(t *testing.T) {
		t.Parallel()
		environment := composeSecrets()
		environment["LUMIN_ACCOUNT_API_KEYS"], environment["LUMIN_APP_SECRETS"] = "", "crm=secret"
		project, err := loadCompose(t, environment)
		if err != nil {
			t.Fatal(err)
		}
		if got := value(project.Services["server"], "LUMIN_APP_SECRETS"); got != "crm=secret" {
			t.Errorf("LUMIN_APP_SECRETS is %q", got)
		}
	})
}

func TestComposePostgres(t *testing.T) {
	t.Parallel()
	project := mustLoadCompose(t)
	postgres := project.Services["postgres"]

	name, tag, _ := strings.Cut(postgres.Image, ":")
	if major, _, _ := strings.Cut(tag, "-"); name != "postgres" || major == "" || strings.Trim(major, "0123456789") != "" {
		t.Errorf("image %s does not pin a major version", postgres.Image)
	}
	if check := postgres.HealthCheck; check == nil || !slices.Contains(check.Test, "pg_isready") || check.Interval == nil || check.Retries == nil {
		t.Errorf("health check %+v", check)
	} else if !slices.Contains(check.Test, "--host=127.0.0.1") {
		t.Errorf("the health check %v would pass before the database is there", check.Test)
	}
	if len(postgres.Volumes) != 1 || postgres.Volumes[0].Type != "volume" || postgres.Volumes[0].Target != "/var/lib/postgresql/data" {
		t.Errorf("volumes %+v", postgres.Volumes)
	} else if _, declared := project.Volumes[postgres.Volumes[0].Source]; !declared {
		t.Errorf("volume %s is not declared", postgres.Volumes[0].Source)
	}
	if len(postgres.Ports) > 0 {
		t.Errorf("ports %+v are published", postgres.Ports)
	}
	if postgres.Restart != "unless-stopped" {
		t.Errorf("restart %s", postgres.Restart)
	}
}

func TestComposeProgram(t *testing.T) {
	t.Parallel()
	project := mustLoadCompose(t)
	if names := project.ServiceNames(); !slices.Equal(names, []string{"login", "migrate", "postgres", "roles", "server"}) {
		t.Fatalf("services %v", names)
	}
	command, err := project.GetDisabledService("command") // has a profile, so "up" does not start it
	if err != nil {
		t.Fatal(err)
	}
	const owner, login = "lumin", "lumin_server"
	owners, servers := value(project.Services["postgres"], "POSTGRES_PASSWORD"), value(project.Services["login"], "SERVER_PASSWORD")
	for _, test := range []struct {
		service              types.ServiceConfig
		user, password, role string
	}{
		{project.Services["migrate"], owner, owners, ""},
		{project.Services["roles"], owner, owners, ""},
		{project.Services["server"], login, servers, ""},
		{command, owner, owners, "lumin_admin"},
	} {
		t.Run(test.service.Name, func(t *testing.T) {
			t.Parallel()
			checkProgram(t, test.service)
			checkDatabase(t, test.service, test.user, test.password, test.role)
		})
	}
	migrate, roles, server := project.Services["migrate"], project.Services["roles"], project.Services["server"]
	if strings.Join(migrate.Command, " ") != "migrate up" || migrate.Restart != "no" {
		t.Errorf("migrate runs %v, restart %s", migrate.Command, migrate.Restart)
	}
	if strings.Join(roles.Command, " ") != "migrate roles" || roles.Restart != "no" {
		t.Errorf("roles runs %v, restart %s", roles.Command, roles.Restart)
	}
	for _, order := range []struct{ first, then string }{{"migrate", "roles"}, {"roles", "login"}, {"login", "server"}} {
		if dependency := project.Services[order.then].DependsOn[order.first]; dependency.Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s depends on %s: %+v", order.then, order.first, dependency)
		}
	}
	if strings.Join(server.Command, " ") != "serve" || server.Restart != "unless-stopped" {
		t.Errorf("server runs %v, restart %s", server.Command, server.Restart)
	}
	if grace := server.StopGracePeriod; grace == nil || time.Duration(*grace) <= 51*time.Second {
		t.Errorf("stop_grace_period %v cuts off a graceful stop, which takes up to 51 s", grace)
	}
	if check := server.HealthCheck; check == nil || len(check.Test) != 3 || check.Test[0] != "CMD" {
		t.Errorf("health check %+v, want one that needs no shell: the image has none", check)
	} else {
		checkHealthCheck(t, check.Test[1:])
	}
	if server.Image != migrate.Image {
		t.Errorf("server uses image %s, migrate uses %s", server.Image, migrate.Image)
	}
	for variable := range theProgram(t).settings() {
		about := strings.HasPrefix(variable, "ADMIN_") || strings.HasPrefix(variable, "ALERT_")
		if _, passed := server.Environment[variable]; about && !passed && !strings.HasSuffix(variable, "_FILE") && variable != "ADMIN_LISTEN_ADDR" {
			t.Errorf("the server does not get %s", variable) // the image sets ADMIN_LISTEN_ADDR
		}
	}
	published := map[string]string{}
	for _, port := range server.Ports {
		published[port.Published] = port.HostIP
		if !slices.Contains(imagePorts(t), port.Target) {
			t.Errorf("port %d is not exposed by the image", port.Target)
		}
	}
	if published["8081"] != "127.0.0.1" || len(published) != 2 {
		t.Errorf("published %v", published)
	}
}

// checkProgram checks a service that runs this program: its build, its
// command, its rights, and its settings.
func checkProgram(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	if s.Build == nil || s.Entrypoint != nil {
		t.Errorf("build %v, entrypoint %v: the Dockerfile's should be used", s.Build, s.Entrypoint)
	}
	if version, given := s.Build.Args["VERSION"]; !given || version == nil || *version != "v9" {
		t.Errorf("build arguments %v do not pass VERSION on", s.Build.Args)
	}
	if problem := theProgram(t).problem(s.Command); problem != "" {
		t.Errorf("command %v: %s", s.Command, problem)
	}
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged || len(s.CapAdd) > 0 {
		t.Errorf("read_only %v, cap_drop %v, cap_add %v, security_opt %v, privileged %v", s.ReadOnly, s.CapDrop, s.CapAdd, s.SecurityOpt, s.Privileged)
	}
	if s.User != "" && !unprivileged(s.User) {
		t.Errorf("runs as %s", s.User)
	}
	settings := theProgram(t).settings()
	for variable, given := range s.Environment {
		// The PostgreSQL driver reads PGPASSWORD. OpenTelemetry's variables are no flags.
		traced := strings.HasPrefix(variable, "OTEL_") && strings.Contains(read(t, "docs/operate.md"), "`"+variable+"`")
		if !settings[variable] && variable != "PGPASSWORD" && !traced {
			t.Errorf("%s is not a setting of the program", variable)
		}
		if given == nil {
			t.Errorf("%s has no value", variable)
		}
	}
	if dependency := s.DependsOn["postgres"]; dependency.Condition != types.ServiceConditionHealthy {
		t.Errorf("depends on postgres: %+v", dependency)
	}
}

// checkDatabase checks with which login, and with the rights of which role, a
// service reaches the service of PostgreSQL.
func checkDatabase(t *testing.T, s types.ServiceConfig, user, password, role string) {
	t.Helper()
	if got := value(s, "PGPASSWORD"); got != password {
		t.Errorf("PGPASSWORD is %q, want %q", got, password)
	}
	u, err := url.Parse(value(s, "DATABASE_URL"))
	if err != nil || u.User.Username() != user || u.Host != "postgres:5432" || u.Path != "/lumin" {
		t.Errorf("DATABASE_URL is %q, %v", value(s, "DATABASE_URL"), err)
	}
	if _, set, _ := strings.Cut(u.Query().Get("options"), "role="); set != role {
		t.Errorf("DATABASE_URL has the role %q, want %q", set, role)
	}
}

// The script of the service login works on a database, also a second time. The
// server then has the rights of its two roles.
func TestComposeLogin(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	address := pgtest.New(t)
	pgtest.UseRoles(t, address)
	admin, err := url.Parse(pgtest.AdminURL(t, address))
	if err != nil {
		t.Fatal(err)
	}
	login := mustLoadCompose(t).Services["login"]
	password, _ := admin.User.Password()
	for range 2 {
		cmd := exec.Command(login.Command[0], login.Command[1:]...)
		cmd.Env = append(cmd.Environ(), "SERVER_PASSWORD="+value(login, "SERVER_PASSWORD"), "PGUSER="+admin.User.Username(), "PGPASSWORD="+password,
			"PGHOST="+admin.Hostname(), "PGPORT="+admin.Port(), "PGDATABASE="+strings.TrimPrefix(admin.Path, "/"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	server := *admin
	server.User = url.UserPassword("lumin_server", value(login, "SERVER_PASSWORD"))
	conn := pgtest.Conn(t, server.String())
	for _, role := range []migrations.Role{migrations.Ingest, migrations.Worker} {
		if access, err := migrations.ReadAccess(t.Context(), conn, role); err != nil || len(access.Missing) > 0 {
			t.Errorf("%s: %+v, %v", role, access, err)
		}
	}
	if access, err := migrations.ReadAccess(t.Context(), conn, migrations.Admin); err != nil || access.Member || len(access.Missing) == 0 {
		t.Errorf("lumin_admin: %+v, %v", access, err)
	}
	if _, err := conn.Exec(t.Context(), `SET ROLE lumin_admin`); err == nil {
		t.Error("the server can become lumin_admin")
	}
	t.Cleanup(func() { pgtest.Exec(t, pgtest.Conn(t, admin.String()), `DROP ROLE lumin_server`) })
}
