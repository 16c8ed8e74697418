// Starts Swagger UI with this gateway's document; nothing is loaded from other servers.
const place = document.getElementById("swagger-ui");

// Swagger UI has a dark theme, and no switch for it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followTheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followTheme);
followTheme();

// What screen readers need and Swagger UI lacks: its title is below this page's heading, and its
// controls have names.
function describe() {
  place.querySelector(".info .title")?.setAttribute("aria-level", "2");
  const about = place.querySelector(".information-container");
  about?.setAttribute("role", "region");
  about?.setAttribute("aria-label", "About this API");
  for (const control of place.querySelectorAll("select:not([aria-label]), textarea:not([aria-label])")) {
    const row = control.closest("tr")?.querySelector(".parameter__name")?.firstChild?.textContent;
    control.setAttribute("aria-label", row ?? (control.matches("textarea") ? "Request body" : "Choose one"));
  }
}

async function start() {
  const response = await fetch(place.dataset.document);
  const spec = await response.json();
  // The URL of the document is right even behind a proxy that does not forward its path.
  spec.servers = [{ url: new URL(".", response.url).pathname.replace(/(.)\/$/, "$1") }];
  SwaggerUIBundle({
    domNode: place,
    spec,
    validatorUrl: null,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: 0,
  });
}

new MutationObserver(describe).observe(place, { childList: true, subtree: true });
start();
