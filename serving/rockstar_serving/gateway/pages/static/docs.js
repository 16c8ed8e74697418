// Starts Swagger UI with this gateway's document; nothing is loaded from other servers.
const place = document.getElementById("swagger-ui");

async function start() {
  const response = await fetch(place.dataset.document);
  const spec = await response.json();
  // The URL of the document is right even behind a proxy that does not forward its path.
  spec.servers = [{ url: new URL(".", response.url).pathname.replace(/(.)\/$/, "$1") }];
  SwaggerUIBundle({
    domNode: place,
    spec,
    validatorUrl: null,
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: 0,
  });
}

start();
